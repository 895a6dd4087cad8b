"""How soon retention takes what the running consumer has not delivered: metric and warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic, time

import structlog
from arroyo.types import Partition

from consumer_fleet.kafka.retention import RetentionWatch
from consumer_fleet.metrics import gauge

log = structlog.get_logger(__name__)

_WARNING_INTERVAL_S = 600.0


class TimeToLoss:
    """Called by the run loop about once per second. Never blocks.

    Only ``retention.ms`` counts here: how soon ``retention.bytes`` strikes is not known inside a
    consumer.
    """

    def __init__(
        self,
        retention: RetentionWatch,
        now_s: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._retention = retention
        self._now_s = now_s
        self._clock = clock
        self._warning_due = 0.0

    def report(self, oldest_ms: Mapping[Partition, int]) -> None:
        """``oldest_ms`` is the timestamp of the oldest message in flight, by partition."""
        retention = self._retention.current()
        if retention is None:
            return
        low: dict[str, int] = {}
        for partition, timestamp_ms in oldest_ms.items():
            seconds = retention.time_to_loss_s(timestamp_ms, self._now_s())
            if seconds is None:
                continue
            gauge("consumer.time_to_loss_s", seconds, tags={"partition": str(partition.index)})
            if seconds < retention.low_s:
                low[f"{partition.topic.name}/{partition.index}"] = int(seconds)
        if low and self._clock() >= self._warning_due:
            self._warning_due = self._clock() + _WARNING_INTERVAL_S
            log.warning(
                "time_to_loss_low",
                seconds=min(low.values()),
                partitions=sorted(low),
                retention_ms=retention.time_ms,
            )
