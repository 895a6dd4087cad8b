"""The librdkafka settings of this program's clients: what the user may set and what it owns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.errors import ConfigurationError

# Setting one of these would break a promise; the value says what to use instead.
OWNED_SETTINGS = {
    "group.id": "use --group",
    "enable.auto.commit": "offsets are committed only after delivery",
    "enable.auto.offset.store": "offsets are committed only after delivery",
    "auto.offset.reset": "use --auto-offset-reset",
    "enable.partition.eof": "the consumer needs it to know a partition's end",
}

# librdkafka prefetches up to 64 MiB by default, next to the in-flight budget. A quarter is half a
# second's worth at full speed, and keeps the parent's memory flat.
_PREFETCH_KIB = 16 * 1024
# How long librdkafka does not fetch after that is full. Its default of a second empties the queue.
_FETCH_PAUSE_MS = 20
# librdkafka asks for a group's name even where none is joined. Nothing is ever stored under it.
_NO_GROUP = "consumer-fleet-reader"


def client_config(bootstrap_servers: str, kafka_config: Mapping[str, str]) -> dict[str, Any]:
    """Settings shared by every client: where the cluster is, and the user's own settings.

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
        "queued.max.messages.kbytes": _PREFETCH_KIB,
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
    # Settings of a membership that does not come about; librdkafka refuses some by themselves.
    for name in ("group.instance.id", "group.protocol", "group.remote.assignor"):
        config.pop(name, None)
    return config


def producer_config(base: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the dead letter producer: every in-sync replica has it, once and in order."""
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
    """Settings of the admin client, which must not create the topic that it asks about."""
    shared = {name: value for name, value in base.items() if not name.startswith(_CONSUMER_ONLY)}
    return {**shared, "allow.auto.create.topics": False}
