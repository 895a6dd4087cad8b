"""A topic's retention, and how long until it deletes what nobody has consumed.

Kafka deletes whole segments: by time once a segment's *youngest* message is past ``retention.ms``,
by size while what would be left is still ``retention.bytes``. A message is therefore
deleted at the time that is computed here at the earliest, and up to a segment later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from consumer_fleet.kafka.topic_facts import request_settings, settings_of
from consumer_fleet.kafka.topic_watch import Question

log = structlog.get_logger(__name__)

# What Kafka stores around a record of a batch: lengths, deltas, attributes.
_RECORD_OVERHEAD_BYTES = 8
_LOW_SHARE = 0.1
_LOW_WITHOUT_TIME_S = 3600.0
_REFRESH_INTERVAL_S = 600.0
LossCause: TypeAlias = Literal["time", "size"]


class Loss(NamedTuple):
    """``seconds`` until the oldest waiting message may be deleted; 0 is any moment now. By size
    it is an estimate.
    """

    seconds: float
    by: LossCause


@dataclass(frozen=True, slots=True)
class Retention:
    """A topic's settings; None is without limit. ``time_ms`` is ``retention.ms``, ``max_bytes``
    is ``retention.bytes``, per partition.
    """

    time_ms: int | None
    max_bytes: int | None
    cleanup_policy: str = "delete"

    @property
    def deletes(self) -> bool:
        return "delete" in self.cleanup_policy

    @property
    def compacts(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def low_s(self) -> float:
        """A time to loss below this many seconds is low: a tenth of the retention."""
        return _LOW_WITHOUT_TIME_S if self.time_ms is None else self.time_ms / 1000 * _LOW_SHARE

    def time_to_loss_s(self, timestamp_ms: int | None, now_s: float) -> float | None:
        """Seconds until retention.ms deletes a message of that timestamp. None where it never
        does, or where the message has no timestamp.
        """
        if not self.deletes or self.time_ms is None or timestamp_ms is None:
            return None
        return max(0.0, (timestamp_ms + self.time_ms) / 1000 - now_s)

    def loss(
        self, timestamp_ms: int | None, now_s: float, *, waiting: int, mean_bytes: float
    ) -> Loss | None:
        """The first loss, by time or by size, of the oldest of ``waiting`` messages.

        By size: messages arrive at the pace of those that wait, each of ``mean_bytes``
        uncompressed, and the oldest is deleted once ``retention.bytes`` are behind it. Compression
        delays that. None where neither deletes it.
        """
        by_time = self.time_to_loss_s(timestamp_ms, now_s)
        losses = [] if by_time is None else [Loss(by_time, "time")]
        if self.deletes and self.max_bytes is not None and timestamp_ms is not None and waiting:
            behind = waiting * (mean_bytes + _RECORD_OVERHEAD_BYTES)
            age_s = max(0.0, now_s - timestamp_ms / 1000)
            losses.append(Loss(max(0.0, age_s * (self.max_bytes / behind - 1)), "size"))
        return min(losses, default=None)


def parse_retention(settings: Mapping[str, str]) -> Retention:
    """A topic's retention, from its settings."""
    return Retention(
        _limit(settings.get("retention.ms")),
        _limit(settings.get("retention.bytes")),
        settings.get("cleanup.policy") or "delete",
    )


def _limit(value: str | None) -> int | None:
    # Kafka writes -1 for "no limit".
    return None if value is None or int(value) < 0 else int(value)


def read_retention(admin: AdminClient, topics: Collection[str]) -> dict[str, Retention]:
    """By topic. Blocks on the broker. Topics whose settings may not be read are left out."""
    found = {}
    for topic, answer in request_settings(admin, topics).items():
        retention = _answered(topic, answer)
        if retention is not None:
            found[topic] = retention
    return found


def retention_of(topic: str) -> Question[Retention | None]:
    """One topic's retention, asked for every ten minutes. None where it may not be read."""

    def ask(admin: AdminClient) -> Future[Any]:
        return request_settings(admin, [topic])[topic]

    return Question(ask, lambda response, _: _answered(topic, response), None, _REFRESH_INTERVAL_S)


def _answered(topic: str, answer: Future[Any]) -> Retention | None:
    try:
        return parse_retention(settings_of(answer))
    except KafkaException as error:
        log.info("topic_config_unreadable", topic=topic, why=error.args[0].str())
        return None
