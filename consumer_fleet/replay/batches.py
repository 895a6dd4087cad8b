"""The messages that a replay sends: how many of its source, how fast, and how rewritten."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

import click

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.consumers import registry
from consumer_fleet.errors import EXIT_FINDINGS, ConfigurationError, FleetError, RecordingError
from consumer_fleet.kafka.chunk import Pair, Record
from consumer_fleet.kafka.offset_spec import parse_offset_spec
from consumer_fleet.replay.rewrite import Rewriter, Shift
from consumer_fleet.replay.source import (
    RecordingMessages,
    ReplaySource,
    TopicMessages,
    at_most,
)

# How far partitions are read ahead to find the earliest message. A recording holds them in the
# order in which they were fetched, at most some megabytes of a partition at once.
_AHEAD_BYTES: Final = 32 * 1024 * 1024
_AHEAD_MESSAGES: Final = 100_000
_MAX_BATCH: Final = 500
# The longest wait before the caller is given a turn.
_WAIT_S: Final = 0.05
# Of a message in memory, beside its bytes.
_OVERHEAD_BYTES: Final = 300


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """The options of ``consumer replay``. ``speed`` is None for no pace at all."""

    options: OptionsRequest
    file: Path | None
    topic: str | None
    to_topic: str | None
    through: str | None
    start: str
    end: str
    limit: int | None
    speed: float | None
    partition_by: str
    create: bool
    new_event_ids: bool
    shift_time: bool
    message_format: str | None
    rejects: Path | None
    transform: str | None
    yes: bool
    as_json: bool

    @property
    def keeps_partitions(self) -> bool:
        return self.partition_by == "original"

    def open_source(self, cluster: ClusterOptions) -> ReplaySource:
        """Open the recording or the topic. Raises FleetError."""
        now_s = time.time()
        start, end = parse_offset_spec(self.start, now_s), parse_offset_spec(self.end, now_s)
        if self.file is not None:
            return RecordingMessages(self.file, start, end)
        return TopicMessages(str(self.topic), cluster, start, end)

    def rewriter(self, source: ReplaySource) -> Rewriter | None:
        """Return what rewrites the messages, None to leave them as they are."""
        if not self.new_event_ids and not self.shift_time:
            return None
        consumer = self._format_of(source)
        shift = None
        if self.shift_time:
            # Kafka and upstreams refuse timestamps in the future, as later messages would have.
            is_faster = self.speed is None or self.speed > 1
            shift = Shift(time.time, latest_ms(source, self.limit) if is_faster else None)
        return Rewriter(consumer, new_event_ids=self.new_event_ids, shift=shift)

    def _format_of(self, source: ReplaySource) -> str:
        for name in (self.message_format, self.through):
            if name is not None:
                return registry.get(name).name
        if source.consumer is None:
            raise click.UsageError(
                "--new-event-ids and --shift-time need the message format of "
                f"{source.name}: name a consumer with --format"
            )
        return source.consumer.name

    def batches(
        self,
        source: ReplaySource,
        rewriter: Rewriter | None,
        check: Callable[[Pair], None] | None = None,
    ) -> Iterator[list[Pair]]:
        """See ``batches_of``. Without a message, ends the command with 1, as ``record`` does."""
        batches = batches_of(
            source, limit=self.limit, speed=self.speed, check=check, rewrite=rewriter
        )
        if batches is None:
            span = f"from {self.start} to {self.end}"
            click.echo(
                f"consumer: nothing to replay: {source.name} has no messages {span}", err=True
            )
            raise click.exceptions.Exit(EXIT_FINDINGS)
        return batches


def paced(
    batches: Iterable[list[Pair]],
    speed: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[list[Pair]]:
    """Yield messages in the order of their timestamps, each when it is due; ``speed`` 2 means twice
    as fast. Time begins with the first message. An empty batch means: nothing is due yet.

    Messages of a partition keep their order, even where its timestamps go back.
    """
    began: float | None = None
    first_ms = 0
    due: list[Pair] = []
    try:
        for found in _by_time(batches, clock):
            if found is None:
                yield due
                due = []
                continue
            timestamp_ms, pair = found
            if began is None:
                # Taking it may last, and chooses shifted times, which must not be in the future.
                yield [pair]
                began, first_ms = clock(), timestamp_ms
                continue
            due_at = began + (timestamp_ms - first_ms) / 1000 / speed
            if due and (len(due) >= _MAX_BATCH or due_at > clock()):
                yield due
                due = []
            while (left_s := due_at - clock()) > 0:
                wait(min(left_s, _WAIT_S))
                yield []
            due.append(pair)
    except FleetError:
        yield due
        raise
    if due:
        yield due


def _by_time(
    batches: Iterable[list[Pair]], clock: Callable[[], float]
) -> Iterator[tuple[int, Pair] | None]:
    """Merge the partitions by time, reading ahead by a bounded amount. Yields None from time to
    time while nothing comes, to give the caller a turn.
    """
    ahead = _Ahead()
    source = iter(batches)
    more = True
    turn_at = clock() + _WAIT_S
    failure: FleetError | None = None
    while True:
        while more and not ahead.is_full:
            try:
                batch = next(source, None)
            except FleetError as error:
                # What came before it is sent first.
                batch, failure = None, error
            more = batch is not None
            if not batch and clock() >= turn_at:
                yield None
                turn_at = clock() + _WAIT_S
            for pair in batch or ():
                ahead.push(pair)
        earliest = ahead.pop()
        if earliest is not None:
            yield earliest
        elif failure is not None:
            raise failure
        else:
            return


class _Ahead:
    """The messages that were read ahead, in order within each partition."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Pair]] = {}
        # (when its first message is due, partition)
        self._heads: list[tuple[int, int]] = []
        self._messages = self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._bytes >= _AHEAD_BYTES or self._messages >= _AHEAD_MESSAGES

    def push(self, pair: Pair) -> None:
        partition, record = pair
        queue = self._queues.setdefault(partition, deque())
        if not queue:
            heapq.heappush(self._heads, (_time_of(pair), partition))
        queue.append(pair)
        self._messages += 1
        self._bytes += record.size + _OVERHEAD_BYTES

    def pop(self) -> tuple[int, Pair] | None:
        """Return when the earliest message is due, and the message; None if there is none."""
        if not self._heads:
            return None
        timestamp_ms, partition = heapq.heappop(self._heads)
        queue = self._queues[partition]
        pair = queue.popleft()
        self._messages -= 1
        self._bytes -= pair[1].size + _OVERHEAD_BYTES
        if queue:
            heapq.heappush(self._heads, (max(timestamp_ms, _time_of(queue[0])), partition))
        return timestamp_ms, pair


def _time_of(pair: Pair) -> int:
    partition, record = pair
    if record.timestamp_ms is None:
        raise ConfigurationError(
            f"the message {partition}/{record.offset} has no timestamp to set the pace: "
            "use --speed max"
        )
    return record.timestamp_ms


def batches_of(
    source: ReplaySource,
    *,
    limit: int | None,
    speed: float | None,
    check: Callable[[Pair], None] | None,
    rewrite: Callable[[Record], Record] | None,
) -> Iterator[list[Pair]] | None:
    """Return None if there is no message. An empty batch means: nothing now.

    The iterator raises what the source raises, after what came before. ``check`` may raise for a
    message: for one of the first 100,000 (or 32 MiB) here already.
    """
    read = source.batches()
    first = next(filter(None, read), None)
    if first is None:
        return None
    batches: Iterator[list[Pair]] = chain((first,), read)
    if limit is not None:
        batches = at_most(limit, batches)
    if check is not None:
        batches = iter(_Checked(batches, check))
    if speed is not None:
        batches = paced(batches, speed)
    if rewrite is not None:
        # Last, so that a shifted time is the time at which a paced message is sent.
        batches = ([(index, rewrite(record)) for index, record in batch] for batch in batches)
    return batches


def latest_ms(source: ReplaySource, limit: int | None) -> int | None:
    """Return the latest timestamp of what ``batches_of`` gives. Blocks: reads the source for it.

    Of a topic with a limit, it is the latest of all messages that may be within the limit.
    """
    latest: int | None = None
    # Damage is reported later, once everything that is readable was replayed.
    with suppress(RecordingError):
        for batch in source.candidates(limit):
            times = [latest, *(record.timestamp_ms for _, record in batch)]
            latest = max((each for each in times if each is not None), default=None)
    return latest


class _Checked:
    """The batches unchanged; the first of them are checked before the first one is given."""

    def __init__(self, batches: Iterator[list[Pair]], check: Callable[[Pair], None]) -> None:
        self._batches = batches
        self._check = check
        self._failure: FleetError | None = None
        self._ahead = deque(self._look_ahead())
        for batch in self._ahead:
            for pair in batch:
                check(pair)

    def _look_ahead(self) -> Iterator[list[Pair]]:
        held = held_bytes = 0
        try:
            for batch in self._batches:
                yield batch
                held += len(batch)
                held_bytes += sum(record.size for _, record in batch)
                if held >= _AHEAD_MESSAGES or held_bytes >= _AHEAD_BYTES:
                    return
        except FleetError as error:
            # What came before it is replayed.
            self._failure = error

    def __iter__(self) -> Iterator[list[Pair]]:
        while self._ahead:
            yield self._ahead.popleft()
        if self._failure is not None:
            raise self._failure
        for batch in self._batches:
            for number, pair in enumerate(batch):
                try:
                    self._check(pair)
                except FleetError:
                    yield batch[:number]
                    raise
            yield batch
