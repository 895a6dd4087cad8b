"""The health of ``consumer run``: its heartbeat file, its lag, and its time to loss.

The heartbeat file (``--healthcheck-file``) is touched from the run loop, whether or not partitions
are assigned: a standby is healthy. It is no longer touched when the loop stops, or when the
committed offset of an assigned partition with waiting messages has not moved for
``stall_timeout_s`` without a known cause; it names the partition then. A destination or a
dead-letter topic that refuses is a known cause: it is reported elsewhere, and a restart would not
fix it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
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
from consumer_fleet.run.run import Lane, Run
from consumer_fleet.run.sources import GroupSource

log = structlog.get_logger(__name__)

TOUCH_INTERVAL_S = 1.0
_WARNING_INTERVAL_S = 600.0


class GroupHealth:
    """The duty of a run that reads as a member of groups: called about once per second."""

    def __init__(self, lanes: Sequence[Lane], options: Options) -> None:
        self._topics = [TopicHealth(lane, options) for lane in lanes]
        path = options.healthcheck_file
        self._heartbeat = None if path is None else Heartbeat(path)

    def __call__(self, _run: Run) -> None:
        stalled = [partition for topic in self._topics for partition in topic.report()]
        # A login that is refused needs a person: a process that waits for one is not healthy.
        is_refused = any(topic.source.cluster.login_refused for topic in self._topics)
        if self._heartbeat is not None and not is_refused:
            self._heartbeat.beat(stalled)


class TopicHealth:
    """One topic's part of it."""

    def __init__(self, lane: Lane, options: Options) -> None:
        assert isinstance(lane.source, GroupSource), "it reads as a member of a group"
        self.source = lane.source
        self._lane = lane
        self._watch = ProgressWatch(options.stall_timeout_s)
        retention = retention_of(lane.source.topic)
        self._time_to_loss = TimeToLoss(TopicWatch(lane.source.cluster, retention))

    def report(self) -> list[str]:
        """Measure, and return the names of stalled partitions."""
        consumer = self.source.consumer
        if consumer is None:
            return []
        lane, lag = self._lane, self.source.lag()
        self._watch.excuse(lane.held_up(consumer.settled()))
        with lane.share.measured():
            for partition, messages in lag.items():
                gauge("consumer.lag", messages, tags={"partition": str(partition.index)})
            gauge("consumer.partitions", len(lag))
            gauge("consumer.in_flight_bytes", lane.in_flight_bytes)
            held = Counter() if lane.holding is None else lane.holding.counts()
            for kind in ("limited", "failing", "unavailable"):
                gauge("consumer.held", held[kind], tags={"kind": kind})
            self._time_to_loss.report(consumer.oldest_unsettled_ms())
        return self._watch.stalled(*waiting(consumer, lag))


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

    def excuse(self, partitions: Iterable[Partition]) -> None:
        """Do not count the time that these spend waiting for a known cause."""
        now = self._clock()
        for partition in self._seen.keys() & partitions:
            self._seen[partition] = (self._seen[partition][0], now)


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
            self._name(stalled)
            log.error("partitions_stalled", partitions=stalled) if stalled else log.info("moving")
        now = self._clock()
        if stalled or now < self._due:
            return
        self._due = now + TOUCH_INTERVAL_S
        try:
            self._path.touch()
        except OSError as error:
            log.error("heartbeat_not_written", path=str(self._path), why=error.strerror)

    def _name(self, stalled: list[str]) -> None:
        """Write them into the file, which stays as old as it is. The log has them, too."""
        with suppress(OSError):
            touched_ns = self._path.stat().st_mtime_ns
            # Replaced: a probe that looks while it is written would see a new time.
            partial = self._path.with_name(f"{self._path.name}.partial")
            partial.write_text("".join(f"stalled: {partition}\n" for partition in stalled))
            os.utime(partial, ns=(touched_ns, touched_ns))
            partial.replace(self._path)


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
