"""Notices a client that has forgotten every broker, and so will never hear from one again.

A broker that shuts down as the last one says in its metadata that none is there, and librdkafka
drops the one it knew. What should bring back ``bootstrap.servers`` is a timer that starts when all
brokers are down; up to librdkafka 2.16, metadata that is handled a moment later stops it, and
nothing starts it again (``rd_kafka_rebootstrap_tmr_stop``). Such a client connects nowhere and
reports nothing: the restart of a single broker would silence its consumers for ever. Whoever owns
such a client makes another one.
"""

from __future__ import annotations

import json
from typing import Any

import structlog

log = structlog.get_logger(__name__)

_INTERVAL_MS = 5_000
# Once may be the moment between dropping the last one and starting again.
_TIMES = 2
# Of librdkafka's statistics (STATISTICS.md there). The others, ``internal`` and ``logical``, are no
# brokers by themselves: the group's coordinator, for one, has the address of a learned broker.
_SOURCES = ("configured", "learned")


class BrokerWatch:
    """Give ``settings`` to one client, and look at ``none_known`` after it was polled."""

    def __init__(self) -> None:
        self._times = 0

    @property
    def settings(self) -> dict[str, Any]:
        return {"statistics.interval.ms": _INTERVAL_MS, "stats_cb": self._on_statistics}

    @property
    def none_known(self) -> bool:
        """True within three intervals, and for good."""
        return self._times >= _TIMES

    def _on_statistics(self, document: str) -> None:
        brokers = json.loads(document)["brokers"].values()
        knows_one = any(broker["source"] in _SOURCES for broker in brokers)
        self._times = 0 if knows_one else self._times + 1
        if self._times == _TIMES:
            log.error("brokers_forgotten", what_now="a new Kafka client takes over")
