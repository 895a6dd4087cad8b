"""A run's duty that shows the run on the fleet view: about once per second, from what it knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Final, NamedTuple

from arroyo.types import Partition

from consumer_fleet.capture.counts import DestinationState, DestinationStatus
from consumer_fleet.humanize import counted, short_duration, signal_name
from consumer_fleet.inspector.fleet import (
    ConsumerView,
    DestinationView,
    FleetBoard,
    FleetView,
    HeldBack,
    LagTrend,
    PartitionView,
    Severity,
    WorkerView,
)
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.retention import Retention, retention_of
from consumer_fleet.kafka.topic_watch import TopicWatch, ends_of
from consumer_fleet.run.run import Lane, Run
from consumer_fleet.run.sources import GroupSource
from consumer_fleet.worker.held_entry import Entry
from consumer_fleet.worker.process import Slot, WorkerHandle

_RATE_WINDOW_S: Final = 3.0
# A partition with waiting messages that has not moved for this long is held back.
_STILL_S: Final = 2.0
# A replaced worker is shown for this long.
_DEATH_SHOWN_S: Final = 60.0
_STATES: Final[Mapping[DestinationState, tuple[str, Severity]]] = {
    "open": ("open", 0),
    "throttled": ("throttled", 1),
    "backing_off": ("backing off", 2),
    "paused": ("paused", 2),
}


class FleetWatch:
    """Publishes a view of the run at each call."""

    def __init__(self, board: FleetBoard, consumers: Sequence[ConsumerWatch]) -> None:
        self._board = board
        self._consumers = consumers
        self._workers = WorkerWatch()

    def __call__(self, run: Run) -> None:
        workers = self._workers.look(run.pool.workers())
        statuses = run.pool.statuses()
        views = tuple(each.look(statuses, workers) for each in self._consumers)
        self._board.publish(FleetView(time(), views, workers))


@dataclass(slots=True)
class _Causes:
    """The worst cause gives the state its name."""

    state: str
    severity: Severity = 0
    texts: tuple[str, ...] = ()

    def add(self, state: str, severity: Severity, text: str) -> None:
        if severity > self.severity:
            self.state, self.severity = state, severity
        self.texts = (*self.texts, f"{state}: {text}")


class ConsumerWatch:
    """Looks at one consumer of the run."""

    def __init__(self, name: str, lane: Lane) -> None:
        assert isinstance(lane.source, GroupSource), "it reads as a member of a group"
        self._name = name
        self._lane = lane
        self._source = source = lane.source
        self._ends = TopicWatch(source.cluster, ends_of(source.topic, self._assigned))
        self._retention = TopicWatch(source.cluster, retention_of(source.topic))
        self._trend = LagTrend()
        self._settled: deque[tuple[float, int]] = deque()
        # The settled offset of each partition, and since when it is that.
        self._moved: dict[Partition, tuple[int, float]] = {}

    def look(
        self, statuses: Sequence[DestinationStatus], workers: Sequence[WorkerView]
    ) -> ConsumerView:
        source, outcomes, consumer = self._source, self._lane.share.outcomes, self._source.consumer
        rate = self._rate(outcomes.total)
        partitions = () if consumer is None else self._partitions(consumer, statuses)
        lag = sum(each.lag for each in partitions if each.lag is not None)
        arriving = self._trend.note(monotonic(), lag, rate)
        causes = _Causes("delivering" if rate >= 0.5 else "idle")
        if consumer is None:
            causes = _Causes("connecting", 1, ("Kafka has not answered yet",))
        elif not partitions:
            causes = _Causes("standby", 0, ("no partition is assigned to this member",))
        self._add_held(causes)
        self._add_workers(causes, workers)
        if arriving is not None:
            why = _bottleneck(statuses, workers)
            causes.add("lag grows", 1, f"{arriving:,.0f}/s arrive, {rate:,.0f}/s settled{why}")
        oldest = [each.oldest_s for each in partitions if each.oldest_s is not None]
        losses = [each.time_to_loss_s for each in partitions if each.time_to_loss_s is not None]
        return ConsumerView(
            name=self._name,
            topic=source.topic,
            group=source.group,
            state=causes.state,
            severity=causes.severity,
            causes=causes.texts,
            lag=None if consumer is None else lag,
            rate=rate,
            delivered=outcomes.delivered,
            filtered=outcomes.filtered.total(),
            dead_lettered=outcomes.rejected.total(),
            oldest_s=max(oldest, default=None),
            time_to_loss_s=min(losses, default=None),
            destinations=tuple(map(_destination, statuses)),
            partitions=partitions,
        )

    def _assigned(self) -> Iterable[int]:
        consumer = self._source.consumer
        return [] if consumer is None else [each.index for each in consumer.settled()]

    def _rate(self, settled: int) -> float:
        now = monotonic()
        self._settled.append((now, settled))
        while len(self._settled) > 2 and now - self._settled[0][0] > _RATE_WINDOW_S:
            self._settled.popleft()
        since, before = self._settled[0]
        return (settled - before) / (now - since) if now > since else 0.0

    def _add_held(self, causes: _Causes) -> None:
        if self._lane.are_rejects_blocked:
            causes.add("dead letters wait", 2, "the dead-letter topic takes nothing")
        holding = self._lane.holding
        if holding is None or (first := holding.oldest) is None:
            return
        if holding.is_full:
            causes.add("held back", 2, "no room for more held messages: new ones wait")
        counts = ", ".join(f"{number:,} {kind}" for kind, number in holding.counts().items())
        held = first.held
        text = f"{counts}; the oldest is {first.position}: {held.destination} {held.answer}"
        causes.add("held back", 1, text)

    @staticmethod
    def _add_workers(causes: _Causes, workers: Sequence[WorkerView]) -> None:
        for each in workers:
            if each.cause is not None:
                causes.add("worker lost", each.severity, f"worker {each.number}: {each.cause}")

    def _partitions(
        self, consumer: ChunkConsumer, statuses: Sequence[DestinationStatus]
    ) -> tuple[PartitionView, ...]:
        moment = _Moment(
            time(),
            monotonic(),
            consumer.lag(),
            self._ends.current(),
            consumer.oldest_unsettled_ms(),
            {} if self._lane.holding is None else self._lane.holding.by_partition(),
            self._retention.current(),
        )
        settled = consumer.settled()
        self._moved = {p: seen for p, seen in self._moved.items() if p in settled}
        rows = []
        for partition, offset in sorted(settled.items(), key=lambda each: each[0].index):
            row = moment.of(partition, offset)
            still_s = self._still_s(partition, offset if row.lag else -1, moment.now)
            if row.held_back is None and row.lag and still_s >= _STILL_S:
                row = replace(row, held_back=_standing(self._lane, offset, still_s, statuses))
            rows.append(row)
        return tuple(rows)

    def _still_s(self, partition: Partition, offset: int, now: float) -> float:
        """For how long the partition has been at the offset; -1 stands for one that is at its end,
        where nothing waits.
        """
        if self._moved.get(partition, (-2, 0.0))[0] != offset:
            self._moved[partition] = (offset, now)
        return now - self._moved[partition][1]


class _Moment(NamedTuple):
    """What is known of all partitions. ``now`` is of ``monotonic``."""

    now_s: float
    now: float
    lag: Mapping[Partition, int]
    ends: Mapping[int, int]
    oldest_ms: Mapping[Partition, int]
    held: Mapping[Partition, Sequence[Entry]]
    retention: Retention | None

    def of(self, partition: Partition, settled: int) -> PartitionView:
        entries = self.held.get(partition, ())
        entry = min(entries, key=lambda each: each.offset, default=None)
        end = max(settled + self.lag.get(partition, 0), self.ends.get(partition.index, 0))
        times = [self.oldest_ms.get(partition), None if entry is None else entry.timestamp_ms]
        first_ms = min((each for each in times if each is not None), default=None)
        retention = self.retention
        return PartitionView(
            index=partition.index,
            committed=settled if entry is None else min(settled, entry.offset),
            end=end,
            lag=end - settled + len(entries),
            held=len(entries),
            oldest_s=None if first_ms is None else max(0.0, self.now_s - first_ms / 1000),
            time_to_loss_s=None
            if retention is None
            else retention.time_to_loss_s(first_ms, self.now_s),
            held_back=None if entry is None else _held_back(entry, self.now),
        )


def _standing(
    lane: Lane, offset: int, still_s: float, statuses: Sequence[DestinationStatus]
) -> HeldBack:
    """All in flight waits for one cause."""
    if lane.are_rejects_blocked:
        return HeldBack(offset, None, "the dead-letter topic takes nothing", still_s)
    for status in statuses:
        if status.state != "open":
            return HeldBack(offset, status.name, status.reason, still_s)
    waiting = max(statuses, key=lambda each: each.pending, default=None)
    if waiting is not None and waiting.pending:
        return HeldBack(offset, waiting.name, "no answer yet", still_s)
    return HeldBack(offset, None, "no worker has sent it yet", still_s)


def _held_back(entry: Entry, now: float) -> HeldBack:
    held = entry.held
    return HeldBack(
        entry.offset, held.destination, f"{held.answer} ({held.kind})", now - entry.since
    )


def _destination(status: DestinationStatus) -> DestinationView:
    state, severity = _STATES[status.state]
    return DestinationView(
        name=status.name,
        state=state,
        severity=severity,
        cause=status.reason or None,
        delivered=status.accepted,
        retried=status.retried,
        dropped=status.dropped,
    )


def _bottleneck(statuses: Sequence[DestinationStatus], workers: Sequence[WorkerView]) -> str:
    """What the messages in flight wait for, where that is known."""
    slowest = max(statuses, key=lambda each: each.pending, default=None)
    if slowest is not None and slowest.pending:
        return f"; {counted(slowest.pending, 'envelope')} on the way to {slowest.name}"
    if not any(each.state == "ready" for each in workers):
        return "; no worker is ready"
    return "; the workers are busy" if any(each.messages for each in workers) else ""


class WorkerWatch:
    """Looks at the workers; remembers for a while how the last one of each number ended."""

    def __init__(self) -> None:
        self._handles: dict[int, WorkerHandle] = {}
        self._ended: dict[int, tuple[str, float]] = {}

    def look(self, slots: Sequence[Slot]) -> tuple[WorkerView, ...]:
        return tuple(map(self._look, slots))

    def _look(self, slot: Slot) -> WorkerView:
        now, process = monotonic(), slot.process
        before = self._handles.get(slot.number)
        if before is not None and before is not process:
            self._ended[slot.number] = (f"process {before.pid} {_end_of(before)}", now)
            del self._handles[slot.number]
        if process is not None:
            self._handles[slot.number] = process
        ended, at = self._ended.get(slot.number, ("", 0.0))
        is_recent = bool(ended) and now - at < _DEATH_SHOWN_S
        state = "ready" if slot.ready else "waiting to restart" if process is None else "starting"
        severity: Severity = 0 if slot.ready and not is_recent else 1
        cause = None
        if is_recent:
            cause = f"{ended} {short_duration(now - at)} ago"
            if not slot.ready:
                severity = 2
        pid = None if process is None else process.pid
        return WorkerView(slot.number, pid, state, severity, cause, slot.outstanding)


def _end_of(process: WorkerHandle) -> str:
    code = process.exit_code
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was ended by {signal_name(-code)}"
