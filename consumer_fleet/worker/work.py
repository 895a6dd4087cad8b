"""Chunks in flight: which of their messages are settled, and which a worker has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from threading import Lock
from time import time
from typing import Final, NamedTuple, Protocol

from arroyo.types import Partition

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.held import Held
from consumer_fleet.kafka.chunk import Chunk, DeadLetter, KafkaRecords
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.metrics import distribution, incr, thread_tags
from consumer_fleet.worker.assemblies import Piece
from consumer_fleet.worker.protocol import ACCEPTED_BY, DELIVERED, Parked, Receipts, Task


@dataclass(slots=True)
class Advance:
    """The growth of a chunk's settled prefix.

    Commit ``next_offset`` once the dead letters in it are stored.
    """

    next_offset: int
    settled: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)


class Remainder(NamedTuple):
    """Of what is given up: the open offsets, the dead letters, and the end of what is settled."""

    open: list[int]
    dead_letters: list[DeadLetter]
    high: int


class Work:
    """One chunk and the state of each of its messages, by index.

    Settling twice is harmless, and the first outcome holds: a worker may die after it has sent a
    message and before its receipt.
    """

    #: The consumer that it belongs to; set when it is submitted.
    share: PoolShare

    def __init__(self, chunk: Chunk, pieces: Mapping[bytes, Sequence[Piece]] | None = None) -> None:
        self.chunk = chunk
        #: Of a chunk that is one parked message: where its parts are on disk.
        self.pieces = pieces
        # One byte per message, as in a worker's shared memory: 1 is settled.
        self._settled = bytearray(len(chunk.records))
        self._delivered_bits = int.from_bytes(bytes([DELIVERED]) * len(chunk.records))
        self._dead_letters: dict[int, DeadLetter] = {}
        self._accepted_by: dict[int, list[str]] = {}
        # The state of messages that were held before.
        self._held: dict[int, Held] = {}
        # Messages that a worker has given up while draining: they are not waited for.
        self.given_up: set[int] = set()
        self._prefix = 0
        self.unsettled = len(chunk.records)
        # How many workers in a row ended while they decoded the message.
        self.deaths: Counter[int] = Counter()
        # Nothing waits for it any more: its partition has moved, or time was up.
        self.abandoned = False

    @property
    def done(self) -> bool:
        """Every message is settled and was taken by ``advance``."""
        return self._prefix == len(self._settled)

    @property
    def is_drained(self) -> bool:
        """Whether nothing more of it is sent: what is not settled was given up."""
        return self.unsettled == len(self.given_up)

    @property
    def oldest_unsettled(self) -> int | None:
        """The offset of the first message that is not settled."""
        index = self._settled.find(0, self._prefix)
        return None if index < 0 else self.chunk.offset_of(index)

    def resume(self, index: int, held: Held) -> None:
        """The message was held before: its next attempt begins with this state."""
        self._held[index] = held
        for destination in held.done:
            self.accepted(index, destination)

    def is_settled(self, index: int) -> bool:
        return bool(self._settled[index])

    def settle(self, index: int) -> bool:
        """A message is delivered or filtered. False if it was settled before."""
        if self._settled[index]:
            return False
        self._settled[index] = 1
        self.unsettled -= 1
        self.given_up.discard(index)
        return True

    def still_to_send(self, indexes: list[int]) -> list[int]:
        """Those of the messages that are neither settled nor given up."""
        if self.unsettled == len(self._settled) and not self.given_up:  # as at first
            return indexes
        gone, settled = self.given_up, self._settled
        return [index for index in indexes if not settled[index] and index not in gone]

    def take(self, receipts: Receipts, share: PoolShare) -> None:
        """Settle what a worker has filtered or rejected, and note what it has given up."""
        filtered = Counter(reason for index, reason in receipts.filtered if self.settle(index))
        for reason, messages in filtered.items():
            share.count_filtered(self.chunk.partition, reason, messages)
        for index, reason, detail in receipts.rejected:
            if self.reject(index, reason, detail):
                share.outcomes.count_rejected(reason)
        self.given_up.update(each for each in receipts.given_up if not self.is_settled(each))

    def settle_delivered(self, marks: bytes) -> int:
        """Settle the messages with the mark DELIVERED. Returns how many were not settled before."""
        delivered = int.from_bytes(marks) & self._delivered_bits
        settled = int.from_bytes(self._settled) | delivered
        self._settled[:] = settled.to_bytes(len(marks))
        before, self.unsettled = self.unsettled, self._settled.count(0)
        return before - self.unsettled

    def note_accepted(self, marks: bytes) -> None:
        """Note which destinations have accepted messages that are not settled, by their marks."""
        for destination, bit in ACCEPTED_BY.items():
            for index, mark in enumerate(marks):
                if mark & bit and not self._settled[index]:
                    self.accepted(index, destination)

    def reject(self, index: int, reason: str, detail: str) -> bool:
        """A message can't be delivered. False if it was settled before."""
        if not self.settle(index):
            return False
        self._dead_letters[index] = DeadLetter(self.chunk.records[index], reason, detail)
        return True

    def accepted(self, index: int, destination: str) -> None:
        """One of several destinations has accepted it: it need not be sent there again."""
        known = self._accepted_by.setdefault(index, [])
        if destination not in known:
            known.append(destination)

    def advance(self) -> Advance | None:
        """Return how far the contiguous settled prefix has grown since the last call, if it has."""
        start = self._prefix
        end = self._settled.find(0, start)
        self._prefix = len(self._settled) if end < 0 else end
        if self._prefix == start:
            return None
        self._measure_latency(start)
        letters = sorted(index for index in self._dead_letters if index < self._prefix)
        return Advance(
            next_offset=self.chunk.offset_of(self._prefix - 1) + 1,
            settled=self._prefix - start,
            dead_letters=[self._dead_letters.pop(index) for index in letters],
        )

    def rest(self) -> Remainder:
        """What ``advance`` has not returned. ``high`` is 0 if nothing of it is settled."""
        offset_of, settled = self.chunk.offset_of, self._settled
        last = settled.rfind(1, self._prefix)
        return Remainder(
            [offset_of(index) for index in range(self._prefix, len(settled)) if not settled[index]],
            [letter for _, letter in sorted(self._dead_letters.items())],
            0 if last < 0 else offset_of(last) + 1,
        )

    def _measure_latency(self, index: int) -> None:
        """Of the messages that are passed on together, the first has waited for the longest.

        Only where they come from Kafka: in a recording, they have waited since it was made.
        """
        if not isinstance(self.chunk.records, KafkaRecords):
            return
        timestamp_ms = self.chunk.columns.timestamps_ms[index]
        if timestamp_ms is not None:
            distribution("consumer.latency_s", max(0.0, time() - timestamp_ms / 1000))

    def task(self, task_id: int, region: int, numbers: list[int], *, whole: bool) -> Task:
        """A task for these messages; ``whole``: with keys and headers."""
        chunk = self.chunk
        columns = chunk.columns
        if len(numbers) < len(chunk.records):
            columns = columns.chosen(numbers)
        records = [chunk.records[n] for n in numbers] if whole else []
        known = self._accepted_by
        return Task(
            task_id,
            chunk.partition.topic.name,
            chunk.partition.index,
            region,
            numbers,
            *columns,
            [record.key for record in records],
            [record.headers for record in records],
            {n: known[n] for n in numbers if n in known} if known else {},
            {n: self._held[n].packed() for n in numbers if n in self._held} if self._held else {},
            self.pieces,
        )


def rest_of(works: Sequence[Work]) -> Remainder | None:
    """What is settled behind the prefix of a partition, and what is open in front of that.

    None if nothing is, or if the log became shorter: chunks may have the same offsets then.
    """
    chunks = [work.chunk for work in works]
    if any(later.offset_of(0) < earlier.next_offset for earlier, later in pairwise(chunks)):
        return None
    rests = [work.rest() for work in works]
    high = max(rest.high for rest in rests)
    if high == 0:
        return None
    return Remainder(
        [offset for rest in rests for offset in rest.open if offset < high],
        [letter for rest in rests for letter in rest.dead_letters],
        high,
    )


@dataclass(slots=True)
class Assignment:
    """Messages of one chunk that one worker has, or that wait for one."""

    work: Work
    indexes: list[int]
    # Where the chunk's receipts begin in the worker's shared memory, once a worker has it.
    region: int = 0
    # The message was taken for the cause of a worker's end: it goes alone.
    alone: bool = False

    @property
    def extent(self) -> tuple[int, int]:
        """The region's start and length."""
        return self.region, len(self.work.chunk.records)


@dataclass(slots=True)
class OutcomeCounts:
    """Settled messages since the start: for the summary, the live line and the metrics."""

    delivered: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    #: Around each measurement.
    measured: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def total(self) -> int:
        return self.delivered + self.filtered.total() + self.rejected.total()

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        return OutcomeCounts(
            self.delivered + other.delivered,
            self.filtered + other.filtered,
            self.rejected + other.rejected,
        )

    def count_delivered(self, messages: int) -> None:
        if messages:
            self.delivered += messages
            with self.measured():
                incr("consumer.messages", amount=messages, tags={"outcome": "delivered"})

    def count_filtered(self, reason: str, messages: int) -> None:
        self.filtered[reason] += messages
        with self.measured():
            incr("consumer.messages", amount=messages, tags={"outcome": "filtered"})
            incr("consumer.filtered", amount=messages, tags={"reason": reason})

    def count_rejected(self, reason: str) -> None:
        self.rejected[reason] += 1
        with self.measured():
            incr("consumer.messages", tags={"outcome": "rejected"})
            incr("consumer.rejected", tags={"reason": reason})


_ABANDONING: Final = Lock()


class Workers(Protocol):
    """The part of ``WorkerPool`` that its shares need."""

    @property
    def is_hopeless(self) -> bool: ...

    def has_room_for(self, share: PoolShare) -> bool: ...

    def give(self, work: Work) -> None: ...

    def drain(self, share: PoolShare) -> None: ...

    def abandon(self, works: list[Work]) -> None: ...

    def poll(self) -> None: ...

    def wait(self, timeout_s: float) -> None: ...

    def statuses(self) -> list[DestinationStatus]: ...


class PoolShare:
    """One consumer's part of the workers: for its steps, it is the pool.

    Consumers that share workers have the same rights: what one of them has in a worker keeps no
    other from giving it chunks.
    """

    def __init__(self, workers: Workers, name: str = "") -> None:
        self._workers = workers
        #: Tags what is measured inside with the consumer's name, where there are several.
        self.measured: Callable[[], AbstractContextManager[object]] = nullcontext
        if name:
            self.measured = partial(thread_tags, topic=name)
        self.outcomes = OutcomeCounts(measured=self.measured)
        #: Where parked messages are noted: the source's, once it is open.
        self.open_offsets = OpenOffsets()
        #: Called for each of them.
        self.on_parked: Callable[[Chunk, Parked], None] = lambda _chunk, _parked: None
        #: Gets what a worker can't deliver for now, and others may pass.
        self.on_held: Callable[[Work, int, Held], None] | None = None
        self.is_draining = False
        #: A drain that waits for workers calls it.
        self.wait: Callable[[float], None] = workers.wait
        self.poll = workers.poll
        self.statuses = workers.statuses

    @property
    def has_room(self) -> bool:
        """Whether a worker can take another chunk."""
        return self._workers.has_room_for(self)

    @property
    def is_hopeless(self) -> bool:
        """No worker can boot: nothing that waits for one is ever done."""
        return self._workers.is_hopeless

    def count_filtered(self, partition: Partition, reason: str, messages: int) -> None:
        """Messages are left out on purpose: for the run's figures, and for the next commit."""
        self.outcomes.count_filtered(reason, messages)
        self.open_offsets.skipped(partition, reason, messages)

    def abandon(self, works: list[Work]) -> None:
        """Start no more of these, and drop their receipts."""
        # At the end of a run, several consumers are closed at the same time.
        with _ABANDONING:
            self._workers.abandon(works)

    def submit(self, work: Work) -> None:
        """Hand a chunk to the least busy worker that has booted. Call only when ``has_room``.
        Never blocks.
        """
        self.is_draining = False
        work.share = self
        self._workers.give(work)

    def drain(self) -> None:
        """Until the next chunk, have workers give up what they can't send at once."""
        self.is_draining = True
        self._workers.drain(self)
