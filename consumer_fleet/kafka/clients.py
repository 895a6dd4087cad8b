"""The Kafka clients of this program: their librdkafka settings, their errors and their log."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata

from consumer_fleet.errors import ConfigurationError, FleetError, KafkaUnreachable

_Answer = TypeVar("_Answer")

# Each of these would break a promise; the value says what to use instead.
OWNED_SETTINGS = {
    "group.id": "use --group",
    "enable.auto.commit": "offsets are committed only after delivery",
    "enable.auto.offset.store": "offsets are committed only after delivery",
    "auto.offset.reset": "use --auto-offset-reset",
    "enable.partition.eof": "the consumer needs it to know a partition's end",
    "transactional.id": "dead letters are written without transactions, and would never arrive",
}

# librdkafka prefetches up to 64 MiB by default, beside the in-flight budget. Five are enough for
# full speed (8 are no faster), and keep the parent's memory flat.
PREFETCH_KIB = 5 * 1024
# How long librdkafka pauses fetching once that is full. Its default, a second, empties the queue.
_FETCH_PAUSE_MS = 20
# librdkafka requires a group's name even if none is joined. Nothing is ever stored under it.
_NO_GROUP = "consumer-fleet-reader"


def client_config(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> dict[str, Any]:
    """Settings shared by every client: the cluster's address and the user's own settings.

    Raises ConfigurationError for a setting that the program owns.
    """
    for name, instead in OWNED_SETTINGS.items():
        if name in kafka_config:
            raise ConfigurationError(f"kafka_config: {name!r} can't be set: {instead}")
    config: dict[str, Any] = {"client.id": "consumer-fleet", "log.connection.close": False}
    if bootstrap_servers:
        config["bootstrap.servers"] = bootstrap_servers
    return {**config, **kafka_config}


# librdkafka warns of each setting that belongs to the other kind of client.
_CONSUMER_ONLY = (
    "group.",
    "session.timeout",
    "max.poll.interval",
    "heartbeat.interval",
    "partition.assignment",
    "isolation.level",
    "fetch.",
    "queued.",
    "auto.commit",
    "check.crcs",
    "max.partition.fetch",
)


def consumer_config(base: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Settings of the consumer. Starting offsets are resolved by the consumer, never implicitly:
    with ``auto.offset.reset=error`` librdkafka reports a lost position and can't skip silently.
    """
    return {
        "queued.max.messages.kbytes": PREFETCH_KIB,
        "fetch.queue.backoff.ms": _FETCH_PAUSE_MS,
        **base,
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
    }


def unjoined_config(base: Mapping[str, Any], group: str = _NO_GROUP) -> dict[str, Any]:
    """Settings of a consumer that reads, or commits for a group, without joining one."""
    config = consumer_config(base, group)
    # Settings of a membership, which librdkafka partly refuses without one.
    for name in ("group.instance.id", "group.protocol", "group.remote.assignor"):
        config.pop(name, None)
    return config


def producer_config(base: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a producer: every in-sync replica gets each message, once and in order."""
    shared = {name: value for name, value in base.items() if not name.startswith(_CONSUMER_ONLY)}
    return {
        # The broker's own limit decides what is too large; librdkafka's ceiling is 1 GB.
        "message.max.bytes": 1_000_000_000,
        "compression.type": "lz4",
        "message.timeout.ms": 30_000,
        **shared,
        "enable.idempotence": True,
        "acks": "all",
    }


def admin_config(base: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the admin client, which must not create the topic that it describes."""
    shared = {name: value for name, value in base.items() if not name.startswith(_CONSUMER_ONLY)}
    return {**shared, "allow.auto.create.topics": False}


# librdkafka's codes for what every client has to tell apart.
OUT_OF_RANGE = (KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET)
NO_ACCESS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
LOGIN_REFUSED = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)
_TOO_SOON = KafkaError(KafkaError.ILLEGAL_SASL_STATE).str()
# Responses of a broker for seconds after a leader or a coordinator has moved.
_MOVING = (
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
)
_RETRY_S = 0.2
# Within this time the first broker that responds has accepted or refused the login.
_LOGIN_S = 1.0
# Why a group refuses a member until a person acts, and how.
_INSTANCE = (
    "another member has the same group.instance.id, or had it until a moment ago: give each member "
    "its own"
)
_REFUSED_MEMBER = {
    KafkaError.FENCED_INSTANCE_ID: _INSTANCE,
    KafkaError.UNRELEASED_INSTANCE_ID: _INSTANCE,
    KafkaError.UNSUPPORTED_ASSIGNOR: "correct group.remote.assignor: the brokers' "
    "group.consumer.assignors names those that they have",
    KafkaError.UNSUPPORTED_VERSION: "these brokers do not support group.protocol=consumer: remove "
    "it from kafka_config",
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: "the group's other members use another "
    "partition.assignment.strategy or group.protocol: give all of them the same",
    KafkaError.INVALID_SESSION_TIMEOUT: "choose session.timeout.ms between the brokers' "
    "group.min.session.timeout.ms and group.max.session.timeout.ms",
    KafkaError.GROUP_MAX_SIZE_REACHED: "the group has as many members as the brokers' "
    "group.max.size allows: stop some, or raise it",
    KafkaError.INVALID_GROUP_ID: "choose another --group",
}


def is_fatal(error: KafkaError) -> bool:
    """Whether the client is of no more use. A fatal error often arrives as a message's error, and
    then only its code says so.
    """
    return error.fatal() or error.code() == KafkaError._FATAL


def failure_of(error: KafkaError) -> FleetError | None:
    """The failure that ends the process, for an error that no retry overcomes; else None."""
    code = error.code()
    if code in _NO_TOPIC:
        return ConfigurationError(f"the topic is gone: {error.str()}")
    if code in NO_ACCESS:
        return ConfigurationError(
            f"Kafka refuses access: {error.str()}. Which right is missing: consumer doctor"
        )
    if code in LOGIN_REFUSED:
        # The same settings were accepted at the start.
        return None if is_login_too_soon(error) else login_refusal(error)
    for refusal, advice in _REFUSED_MEMBER.items():
        # A fatal error has a code of its own; its cause is in its text.
        if code == refusal or (is_fatal(error) and KafkaError(refusal).str() in error.str()):
            return ConfigurationError(f"Kafka refuses this member: {error.str()}. Fix: {advice}")
    if is_fatal(error):
        # Polling a client in this state would look alive forever and read nothing.
        return KafkaUnreachable(f"Kafka client failed: {error.str()}")
    return None


def is_login_too_soon(error: KafkaError) -> bool:
    """Whether a login came on a connection that takes none. So it does where the settings are
    wrong, but also within a second of the last login, as with a token that was about to expire:
    then the broker closes the connection, and the login on the next one is accepted.
    """
    return _TOO_SOON in error.str()


def login_refusal(error: KafkaError) -> ConfigurationError:
    """The failure of a client whose login is refused."""
    why = error.str().partition(" (after")[0]
    return ConfigurationError(
        f"Kafka refuses the login ({why}): check sasl.username, sasl.password and sasl.mechanism "
        "in kafka_config"
    )


def unreachable(base_config: Mapping[str, Any], why: str) -> KafkaUnreachable:
    """The error of a cluster whose brokers do not answer."""
    return KafkaUnreachable(
        f"no Kafka broker answers at {base_config.get('bootstrap.servers', '')}: {why}; check "
        "--bootstrap-servers, the network and the TLS or SASL settings"
    )


def answered(targets: list[TopicPartition]) -> list[TopicPartition]:
    """Raises KafkaException for the first without an answer: its offset looks like none."""
    for target in targets:
        if target.error is not None:
            raise KafkaException(target.error)
    return targets


def is_moving(error: KafkaError) -> bool:
    """Whether the same question will be answered in a moment."""
    return error.code() in _MOVING


def ask_patiently(ask: Callable[[], _Answer], limit_s: float) -> _Answer:
    """Ask again, for ``limit_s`` at most, while a leader or a coordinator moves. Raises the last
    KafkaException.
    """
    deadline = monotonic() + limit_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not is_moving(error.args[0]) or monotonic() > deadline:
                raise
        sleep(_RETRY_S)


def fetch_metadata(
    client: AdminClient | Consumer,
    timeout_s: float,
    refusal: Callable[[], str],
    topic: str | None = None,
) -> ClusterMetadata:
    """The metadata of the cluster, or of one topic. Blocks for ``timeout_s`` at most, and for a
    second where ``refusal`` then has the error of a login. Raises the last KafkaException.
    """
    first_s = min(timeout_s, _LOGIN_S)
    for wait_s in (first_s, timeout_s - first_s):
        try:
            metadata: ClusterMetadata = client.list_topics(topic, timeout=wait_s)
        except KafkaException as error:
            failure = error
            client.poll(0)  # lets librdkafka say why
            if (refused := refusal()) and _TOO_SOON not in refused:
                break
        else:
            return metadata
    raise failure


_THROTTLE_S = 30.0
_NUMBERS = re.compile(r"\d+")


class LogThrottle(logging.Filter):
    """Passes a line once per ``_THROTTLE_S``; lines that differ only in numbers are the same.

    A client whose brokers are away reconnects many times per second and logs each failure.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        text = _NUMBERS.sub("", record.getMessage())
        passed_at = self._passed_at.get(text)
        if passed_at is not None and now - passed_at < _THROTTLE_S:
            return False
        self._passed_at = {
            known: at for known, at in self._passed_at.items() if now - at < _THROTTLE_S
        }
        self._passed_at[text] = now
        return True


rdkafka_log = logging.getLogger("librdkafka")
rdkafka_log.addFilter(LogThrottle())

_Client = TypeVar("_Client", Consumer, Producer, AdminClient)


def make_client(
    kind: type[_Client], config: Mapping[str, Any], logger: logging.Logger = rdkafka_log
) -> _Client:
    """A client with exactly these settings; it connects later, by itself. Raises
    ConfigurationError for a setting or a value that librdkafka refuses.
    """
    try:
        return kind(dict(config), logger=logger)
    except KafkaException as error:
        raise ConfigurationError(
            f"kafka_config: {error.args[0].str()}; see librdkafka's CONFIGURATION.md"
        ) from error
