"""What is replayed of a source: how much of it, how fast, and what is changed in it."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Final

from consumer_fleet.errors import ConfigurationError, FleetError, RecordingError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.replay.source import Pair, Source, at_most

# How far partitions are read ahead to find the earliest message. A recording holds them in the
# order in which they were fetched, at most some megabytes of a partition at once.
_AHEAD_BYTES: Final = 32 * 1024 * 1024
_AHEAD_MESSAGES: Final = 100_000
_MAX_BATCH: Final = 500
# The longest wait between two looks at what else there is to do.
_WAIT_S: Final = 0.05
# Of a message in memory, beside its bytes.
_OVERHEAD_BYTES: Final = 300


def paced(
    batches: Iterable[list[Pair]],
    speed: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[list[Pair]]:
    """The messages in the order of their timestamps, each not before its time; ``speed`` 2 means
    twice as fast. Time begins with the first. An empty batch means: nothing is due yet.

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
                began, first_ms = clock(), timestamp_ms
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
    """Merge the partitions by time, reading ahead by a bounded amount. None from time to time while
    nothing comes: there is more to do than to wait for it.
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
    """What was read ahead, in order within each partition."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Pair]] = {}
        # When the first of a partition is due, and the partition.
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
        """The earliest, and when it is due; None where there is none."""
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
            f"the message {partition}/{record.offset} has no timestamp to keep its distance by: "
            "use --speed max"
        )
    return record.timestamp_ms


def batches_of(
    source: Source,
    *,
    limit: int | None,
    speed: float | None,
    check: Callable[[Pair], None] | None,
    rewrite: Callable[[Record], Record] | None,
) -> Iterator[list[Pair]] | None:
    """None where there is no message. An empty batch means: nothing now. Raises what the source
    raises, after what came before, and what ``check`` raises of a message: here, if it is one of
    the first 100,000 or 32 MiB.
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
        # Last, so that a shifted time is the one at which a paced message is sent.
        batches = ([(index, rewrite(record)) for index, record in batch] for batch in batches)
    return batches


def latest_ms(source: Source, limit: int | None) -> int | None:
    """The latest timestamp of what ``batches_of`` gives. Blocks: the source is read for it.

    Of a topic with a limit, it is the latest of all that may be among the first.
    """
    latest: int | None = None
    # Where a recording ends before its end is said once what is readable was replayed.
    with suppress(RecordingError):
        for batch in source.candidates(limit):
            times = [latest, *(record.timestamp_ms for _, record in batch)]
            latest = max((each for each in times if each is not None), default=None)
    return latest


class _Checked:
    """The batches as they are; the first of them are checked before the first is given."""

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
