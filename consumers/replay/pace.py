"""Sends messages at the times at which they were written, or at a multiple of that speed."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from consumers.replay.source import Pair
from fleet.errors import ConfigurationError, FleetError

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
