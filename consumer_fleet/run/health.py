"""The health of ``consumer run``: its heartbeat file, its lag, and its time to loss.

The heartbeat file (``--healthcheck-file``) is touched from the run loop, whether or not partitions
are assigned: a standby is healthy. It is no longer touched when the loop stops, or when the
committed offset of an assigned partition with waiting messages has not moved for
``stall_timeout_s`` without a known cause. A destination or a dead-letter topic that refuses is a
known cause: it is reported elsewhere, and a restart would not fix it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, time

import structlog
from arroyo.types import Partition

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.kafka.chunk import name_of
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.retention import Retention, retention_of
from consumer_fleet.kafka.topic_watch import TopicWatch
from consumer_fleet.metrics import gauge
from consumer_fleet.run.run import Run
from consumer_fleet.run.sources import GroupSource

log = structlog.get_logger(__name__)

TOUCH_INTERVAL_S = 1.0
_WARNING_INTERVAL_S = 600.0


class GroupHealth:
    """The duty of a run that reads as a member of a group: called about once per second."""

    def __init__(self, source: GroupSource, options: Options) -> None:
        self._source = source
        path = options.healthcheck_file
        self._heartbeat = None if path is None else Heartbeat(path)
        self._watch = ProgressWatch(options.stall_timeout_s)
        self._time_to_loss = TimeToLoss(TopicWatch(source.cluster, retention_of(source.topic)))

    def __call__(self, run: Run) -> None:
        consumer = self._source.consumer
        lag = {} if consumer is None else consumer.lag()
        if run.is_held_up:
            self._watch.excuse()
        stalled = [] if consumer is None else self._watch.stalled(*waiting(consumer, lag))
        # A login that is refused needs a person: a process that waits for one is not healthy.
        if self._heartbeat is not None and not self._source.cluster.login_refused:
            self._heartbeat.beat(stalled)
        if consumer is None:
            return
        for partition, messages in lag.items():
            gauge("consumer.lag", messages, tags={"partition": str(partition.index)})
        gauge("consumer.partitions", len(lag))
        gauge("consumer.in_flight_bytes", run.in_flight_bytes)
        held = Counter() if run.holding is None else run.holding.counts()
        for kind in ("limited", "failing", "unavailable"):
            gauge("consumer.held", held[kind], tags={"kind": kind})
        self._time_to_loss.report(consumer.oldest_unsettled_ms())


def waiting(
    consumer: ChunkConsumer, lag: Mapping[Partition, int]
) -> tuple[dict[Partition, int], Mapping[Partition, int]]:
    """How many messages of each partition are not committed yet, and up to where they are: one
    that delivers and whose commits all fail makes no progress.
    """
    committed, settled = consumer.committed(), consumer.settled()
    counts = {
        partition: lag.get(partition, 0) + max(0, settled[partition] - offset)
        for partition, offset in committed.items()
    }
    return counts, committed


class ProgressWatch:
    """Finds assigned partitions where messages wait and nothing moves."""

    def __init__(self, stall_timeout_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock
        self._seen: dict[Partition, tuple[int, float]] = {}

    def stalled(
        self, waiting: Mapping[Partition, int], committed: Mapping[Partition, int]
    ) -> list[str]:
        """Names of stalled partitions. Call regularly, with the number of messages that are not
        committed and the committed offsets.
        """
        now = self._clock()
        self._seen = {p: seen for p, seen in self._seen.items() if p in committed}
        stalled = []
        for partition, offset in committed.items():
            seen = self._seen.get(partition)
            if seen is None or seen[0] != offset or waiting.get(partition, 0) == 0:
                self._seen[partition] = (offset, now)
            elif now - seen[1] > self._stall_timeout_s:
                stalled.append(name_of(partition))
        return stalled

    def excuse(self) -> None:
        """Do not count the time spent waiting for a known cause."""
        now = self._clock()
        self._seen = {partition: (offset, now) for partition, (offset, _) in self._seen.items()}


class Heartbeat:
    """Touches the file at most once per ``TOUCH_INTERVAL_S``."""

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._clock = clock
        self._due = 0.0
        self._stalled: list[str] = []

    def beat(self, stalled: list[str]) -> None:
        """Called regularly by the run loop with the partitions that are stalled, if any."""
        if stalled != self._stalled:
            self._stalled = stalled
            log.error("partitions_stalled", partitions=stalled) if stalled else log.info("moving")
        now = self._clock()
        if stalled or now < self._due:
            return
        self._due = now + TOUCH_INTERVAL_S
        try:
            self._path.touch()
        except OSError as error:
            log.error("heartbeat_not_written", path=str(self._path), why=error.strerror)


class TimeToLoss:
    """How soon retention deletes what is not delivered yet: metric and warning. Never blocks.

    Only ``retention.ms`` counts here: a consumer can't know how soon ``retention.bytes`` strikes.
    """

    def __init__(
        self,
        retention: TopicWatch[Retention | None],
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
                low[name_of(partition)] = int(seconds)
        if low and self._clock() >= self._warning_due:
            self._warning_due = self._clock() + _WARNING_INTERVAL_S
            log.warning(
                "time_to_loss_low",
                seconds=min(low.values()),
                partitions=sorted(low),
                retention_ms=retention.time_ms,
            )
