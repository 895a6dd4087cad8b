"""The step in which worker processes decode and deliver chunks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Protocol

import structlog
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.types import Message, Partition, Value

from consumer_fleet.kafka.chunk import Chunk, DeadLetter
from consumer_fleet.worker.held_entry import Entry
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.work import Advance, PoolShare, Work, rest_of

log = structlog.get_logger(__name__)

# The part of a join's time that is left for dead letters' acknowledgements and the commit.
_RESERVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The growth of a partition's settled prefix, as this step passes it on.

    Its rejected messages must be stored before its offset may be committed.
    """

    dead_letters: tuple[DeadLetter, ...]
    #: Held messages, behind the prefix, that end with the dead letters.
    ended: tuple[Entry, ...] = ()
    #: Offsets below the committable one that are not settled: they were given up at a drain.
    left: Sequence[int] = ()

    @property
    def size(self) -> int:
        """Payload bytes of the dead letters, which wait with it."""
        return sum(letter.record.size for letter in self.dead_letters)


class Assembling(Protocol):
    """The part of ``Assembler`` that this step needs: what workers send beside its chunks."""

    @property
    def is_busy(self) -> bool: ...

    @property
    def is_drained(self) -> bool: ...

    @property
    def has_room(self) -> bool: ...

    def poll(self, *, may_send: bool) -> None: ...

    def abandon(self) -> None: ...


class RunInWorkers(ProcessingStrategy[Chunk]):
    """Keep every chunk's raw bytes until each of its messages is settled.

    Results leave per partition in offset order, message by message rather than chunk by chunk: a
    commit never waits for the end of a chunk, and after a rebalance or a stop a partition is read
    again from its first unsettled message.
    """

    def __init__(
        self,
        pool: PoolShare,
        next_step: ProcessingStrategy[Settled],
        *,
        max_in_flight_bytes: int,
        assembler: Assembling | None = None,
        holding: Holding | None = None,
    ) -> None:
        self._pool = pool
        self._next_step = next_step
        self._max_in_flight_bytes = max_in_flight_bytes
        self._assembler = assembler
        self._holding = holding
        self._works: dict[Partition, deque[Work]] = {}
        self._results: deque[Message[Settled]] = deque()
        self._in_flight_bytes = 0
        self._closed = False
        # This step rejected the last chunk: arroyo holds it, and submits it again.
        self.awaits_rejected_chunk = False
        self._rejected_size = 0
        #: How much of the budget is for other topics.
        self.kept_free: Callable[[], int] = lambda: 0
        self._join_deadline: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing waits for the next step."""
        is_busy = self._assembler is not None and self._assembler.is_busy
        return not (self._works or self._results or is_busy)

    @property
    def _is_drained(self) -> bool:
        """Whether nothing is in flight but what can't be delivered now."""
        works = (work for works in self._works.values() for work in works)
        if self._results or not all(work.is_drained for work in works):
            return False
        if self._assembler is not None and not self._assembler.is_drained:
            return False
        return self._holding is None or not self._holding.is_busy

    def oldest_unsettled(self, partition: Partition) -> int | None:
        """The offset of the partition's first message that is not settled, of those in flight."""
        works = self._works.get(partition)
        return works[0].oldest_unsettled if works else None

    @property
    def in_flight_bytes(self) -> int:
        return self._in_flight_bytes

    def submit(self, message: Message[Chunk]) -> None:
        """Hand one chunk to the workers. Never blocks.

        Raises MessageRejected while the workers or the in-flight budget are full; arroyo submits
        the same chunk again, and pauses the partitions if that goes on. A chunk larger than the
        whole budget passes alone.
        """
        chunk = message.payload
        self.awaits_rejected_chunk = self._closed or not self._has_room_for(chunk.size)
        if self.awaits_rejected_chunk:
            self._rejected_size = chunk.size
            raise MessageRejected
        work = Work(chunk)
        self._works.setdefault(chunk.partition, deque()).append(work)
        self._in_flight_bytes += chunk.size
        self._pool.submit(work)

    def _has_room_for(self, size: int) -> bool:
        # Results and held messages have left the budget: new chunks would let them grow without
        # limit.
        if self._results or (self._holding is not None and self._holding.is_full):
            return False
        if not self._pool.has_room or not (self._assembler is None or self._assembler.has_room):
            return False
        budget = self._max_in_flight_bytes - self.kept_free()
        return not self._in_flight_bytes or self._in_flight_bytes + size <= budget

    @property
    def is_blocked(self) -> bool:
        """Whether this step would reject the chunk again that it has rejected."""
        return self.awaits_rejected_chunk and not self._has_room_for(self._rejected_size)

    def poll(self) -> None:
        """Take receipts and pass settled prefixes on. Never blocks."""
        self._next_step.poll()
        self._pool.poll()
        if self._assembler is not None:
            self._assembler.poll(may_send=not self._closed)
        self._collect()
        if self._holding is not None:
            self._holding.poll()
            if not self._results:
                self._collect_held(self._holding)
        self._pass_on()

    def _collect_held(self, holding: Holding) -> None:
        """Pass on the dead letters of held messages; the prefix has passed them."""
        found: dict[Partition, list[tuple[Entry, DeadLetter]]] = {}
        for entry, letter in holding.take_letters():
            found.setdefault(entry.partition, []).append((entry, letter))
        for partition, ended in found.items():
            settled = Settled(tuple(each[1] for each in ended), tuple(each[0] for each in ended))
            # It moves no prefix: the consumer keeps the larger offset.
            self._results.append(Message(Value(settled, {partition: 0})))

    def _collect(self) -> None:
        for partition in list(self._works):
            works = self._works[partition]
            dead_letters: list[DeadLetter] = []
            last: Advance | None = None
            timestamp: datetime | None = None
            while works:
                advance = works[0].advance()
                if advance is not None:
                    last, timestamp = advance, works[0].chunk.timestamp
                    dead_letters.extend(advance.dead_letters)
                if not works[0].done:
                    break
                self._in_flight_bytes -= works.popleft().chunk.size
            if not works:
                del self._works[partition]
            if last is not None:
                settled = Settled(tuple(dead_letters))
                self._results.append(
                    Message(Value(settled, {partition: last.next_offset}, timestamp))
                )

    def _pass_on(self) -> None:
        while self._results:
            try:
                self._next_step.submit(self._results[0])
            except MessageRejected:
                # The dead-letter topic takes no more now: hold the result, and so its commit.
                return
            self._results.popleft()

    def close(self) -> None:
        self._closed = True

    def begin_end(self, deadline: float) -> None:
        """Begin what ``join`` ends by the deadline, of ``time.monotonic``. Does not block."""
        self._join_deadline = deadline
        self._closed = True
        if self._holding is not None:
            self._holding.pause()
        self._pool.drain()

    def terminate(self) -> None:
        self._closed = True
        self.abandon()
        self._next_step.terminate()

    def join(self, timeout: float | None = None) -> None:
        """Drain within the time, then give up what is left, and pass the rest of the time on.

        Blocks, but not for what can't be delivered now: what a limit, a backoff or a pause holds
        back is given up at once. The commit names it, and its next owner sends that only.
        """
        started = monotonic()
        if self._join_deadline is not None:
            timeout = max(0.0, self._join_deadline - started)
        deadline = None if timeout is None else started + max(0.0, timeout - _RESERVE_S)
        if self._holding is not None:
            self._holding.pause()
        self._pool.drain()
        # However short the time: receipts that have arrived count.
        self.poll()
        while (
            not self._is_drained
            and not self._pool.is_hopeless
            and (deadline is None or monotonic() < deadline)
        ):
            self._pool.wait(0.05)
            self.poll()
        if not self.idle:
            self._pass_on_rest()
            self.abandon()
            if self._assembler is not None:
                self._assembler.abandon()
        self._next_step.close()
        remaining = None if timeout is None else max(0.0, timeout - (monotonic() - started))
        self._next_step.join(remaining)

    def _pass_on_rest(self) -> None:
        """Pass on what is settled behind a message that is given up, so that nobody sends it again.

        It goes behind all results before it: where they can't be committed, it isn't, either.
        """
        for partition, works in self._works.items():
            rest = rest_of(works)
            if rest is not None:
                settled = Settled(tuple(rest.dead_letters), left=rest.open)
                self._results.append(Message(Value(settled, {partition: rest.high})))
        self._pass_on()

    def abandon(self) -> None:
        """Give up what is in flight: it is not committed, and its next owner sends it."""
        works = [work for works in self._works.values() for work in works]
        messages = sum(work.unsettled for work in works)
        if messages:
            log.warning("abandoned", messages=messages, what_now="their next owner sends them")
        self._pool.abandon(works)
        self._works.clear()
        self._results.clear()
        self._in_flight_bytes = 0
