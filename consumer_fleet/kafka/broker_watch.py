"""A client's connections to its brokers: failures are named, a lack of brokers is noticed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from confluent_kafka import KafkaError

from consumer_fleet.kafka.clients import LOGIN_REFUSED
from consumer_fleet.throttle import Throttle

log = structlog.get_logger(__name__)

_STATISTICS_INTERVAL_MS = 5_000
# Once may be the moment between dropping the last one and reconnecting.
_REPORTS_WITHOUT_BROKER = 2
# In librdkafka's statistics (STATISTICS.md there). The others, ``internal`` and ``logical``, only
# point to brokers: the group's coordinator, for one, has the address of a learned broker.
_SOURCES = ("configured", "learned")

# librdkafka reports each failed attempt, several times per second.
_LOG_INTERVAL_S = 10.0
_BROKER_LOG_INTERVAL_S = 30.0
_CONNECTION_ERRORS = (
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._SSL,
    KafkaError._TIMED_OUT,
    KafkaError._BAD_MSG,
    KafkaError._ALL_BROKERS_DOWN,
)
# HOST:PORT/ID: WHY (after 3ms in state CONNECT), with an advertised address if there is an id.
_FAILURE = re.compile(r"(\S+)/(\d+|bootstrap): (.+?) \(after \d+ms in state (\w+)")
_CONNECTED = ("UP", "UPDATE")


class BrokerWatch:
    """Pass ``settings`` to one client, its errors to ``note``, and check ``none_known`` after
    polling it: librdkafka 2.16 may forget every broker when one restarts.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._reports = 0
        self._why = ""
        #: The error of a refused login, if there was one.
        self.login_refused: KafkaError | None = None
        self._throttle = Throttle(clock)

    @property
    def settings(self) -> dict[str, Any]:
        return {"statistics.interval.ms": _STATISTICS_INTERVAL_MS, "stats_cb": self._on_statistics}

    @property
    def because(self) -> str:
        """The last failure of a connection, to be appended to an error; empty if there was none."""
        return f" ({self._why})" if self._why else ""

    @property
    def none_known(self) -> bool:
        """True within three intervals, and from then on."""
        return self._reports >= _REPORTS_WITHOUT_BROKER

    def _on_statistics(self, document: str) -> None:
        brokers = json.loads(document)["brokers"].values()
        knows_one = any(broker["source"] in _SOURCES for broker in brokers)
        self._reports = 0 if knows_one else self._reports + 1
        if self._reports == _REPORTS_WITHOUT_BROKER:
            log.error("brokers_forgotten", what_now="replacing the Kafka client")

    def note(self, error: KafkaError) -> bool:
        """Log an error of a connection, each broker's now and then; whether it was one."""
        if error.code() in LOGIN_REFUSED:
            self.login_refused = error
        elif found := _FAILURE.match(error.str()):
            self._note_failure(*found.groups())
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._throttle.is_due(
            "", _LOG_INTERVAL_S
        ):
            log.error("kafka_unreachable", reason=self._why or error.str(), what_now="retrying")
        return error.code() in _CONNECTION_ERRORS

    def _note_failure(self, address: str, broker: str, why: str, state: str) -> None:
        is_advertised = broker.isdecimal()
        advertised = f"broker {broker} at {address}, which the cluster advertises"
        self._why = f"{advertised if is_advertised else address}: {why}"
        if not is_advertised or state in _CONNECTED:
            return
        if self._throttle.is_due(address, _BROKER_LOG_INTERVAL_S):
            log.warning(
                "broker_unreachable",
                broker=int(broker),
                address=address,
                why=why,
                what_now="retrying; check that it is up, and whether its advertised.listeners has "
                "an address that can be reached from here",
            )
