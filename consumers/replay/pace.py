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
        for timestamp_ms, pair in _by_time(batches):
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


def _by_time(batches: Iterable[list[Pair]]) -> Iterator[tuple[int, Pair]]:
    """Merge the partitions by time, reading ahead by a bounded amount."""
    waiting: dict[int, deque[Pair]] = {}
    heads: list[tuple[int, int]] = []  # when the first of a partition is due, and the partition
    source = iter(batches)
    held_bytes = held = 0
    more = True
    failure: FleetError | None = None
    while True:
        while more and held_bytes < _AHEAD_BYTES and held < _AHEAD_MESSAGES:
            try:
                batch = next(source, None)
            except FleetError as error:
                # What came before it is sent first.
                batch, failure = None, error
            more = batch is not None
            for pair in batch or ():
                partition, record = pair
                queue = waiting.setdefault(partition, deque())
                if not queue:
                    heapq.heappush(heads, (_time_of(pair), partition))
                queue.append(pair)
                held += 1
                held_bytes += record.size + _OVERHEAD_BYTES
        if not heads:
            if failure is not None:
                raise failure
            return
        timestamp_ms, partition = heapq.heappop(heads)
        queue = waiting[partition]
        pair = queue.popleft()
        held -= 1
        held_bytes -= pair[1].size + _OVERHEAD_BYTES
        if queue:
            heapq.heappush(heads, (max(timestamp_ms, _time_of(queue[0])), partition))
        yield timestamp_ms, pair


def _time_of(pair: Pair) -> int:
    partition, record = pair
    if record.timestamp_ms is None:
        raise ConfigurationError(
            f"the message {partition}/{record.offset} has no timestamp to keep its distance by: "
            "use --speed max"
        )
    return record.timestamp_ms
