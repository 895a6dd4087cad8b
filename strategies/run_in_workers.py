"""The step that has chunks decoded and delivered by worker processes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import structlog
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.types import Message, Partition, Value

from consumer_fleet.kafka.chunk import Chunk, DeadLetter
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.work import Advance, Work

log = structlog.get_logger(__name__)

# Left of a join's time for what comes after it: the dead letters' acknowledgement, the commit.
_RESERVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Settled:
    """What leaves this step: a partition's settled prefix has grown.

    The rejected messages among it still have to be kept somewhere before its offset may be
    committed.
    """

    dead_letters: tuple[DeadLetter, ...]

    @property
    def size(self) -> int:
        """Payload bytes of the dead letters, which wait with it."""
        return sum(letter.record.size for letter in self.dead_letters)


class RunInWorkers(ProcessingStrategy[Chunk]):
    """Keeps every chunk's raw bytes until each of its messages is settled.

    Results leave per partition in offset order, message by message rather than chunk by chunk: a
    commit never waits for the end of a chunk, and what a rebalance or a stop cuts off is sent
    again from the first message that was not settled.
    """

    def __init__(
        self,
        pool: WorkerPool,
        next_step: ProcessingStrategy[Settled],
        *,
        max_in_flight_bytes: int,
    ) -> None:
        self._pool = pool
        self._next_step = next_step
        self._max_in_flight_bytes = max_in_flight_bytes
        self._works: dict[Partition, deque[Work]] = {}
        self._held: deque[Message[Settled]] = deque()
        self._in_flight_bytes = 0
        self._closed = False
        # The last chunk was rejected: arroyo holds it, and submits it again.
        self.is_owed_one = False

    @property
    def idle(self) -> bool:
        """Nothing is in flight and nothing waits for the next step."""
        return not self._works and not self._held

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
        over_budget = self._in_flight_bytes + chunk.size > self._max_in_flight_bytes
        # What is held has left the budget: taking more while it waits would grow without bound.
        full = self._held or not self._pool.has_room or (over_budget and self._in_flight_bytes)
        self.is_owed_one = self._closed or bool(full)
        if self.is_owed_one:
            raise MessageRejected
        work = Work(chunk)
        self._works.setdefault(chunk.partition, deque()).append(work)
        self._in_flight_bytes += chunk.size
        self._pool.submit(work)

    def poll(self) -> None:
        """Take receipts and pass on what they settled. Never blocks."""
        self._next_step.poll()
        self._pool.poll()
        self._collect()
        self._pass_on()

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
                self._held.append(Message(Value(settled, {partition: last.next_offset}, timestamp)))

    def _pass_on(self) -> None:
        while self._held:
            try:
                self._next_step.submit(self._held[0])
            except MessageRejected:
                # The dead letter topic can't take more now: hold, and so hold the commit.
                return
            self._held.popleft()

    def close(self) -> None:
        self._closed = True

    def terminate(self) -> None:
        self._closed = True
        self.abandon()
        self._next_step.terminate()

    def join(self, timeout: float | None = None) -> None:
        """Drain within the time, then give up what is left and pass the rest of the time on.

        Blocks. What is given up is not committed: its next owner sends it again.
        """
        started = monotonic()
        deadline = None if timeout is None else started + max(0.0, timeout - _RESERVE_S)
        # However little time there is: receipts that are already here count.
        self.poll()
        while (
            not self.idle
            and not self._pool.is_hopeless
            and (deadline is None or monotonic() < deadline)
        ):
            self._pool.wait(0.05)
            self.poll()
        if not self.idle:
            self.abandon()
        self._next_step.close()
        remaining = None if timeout is None else max(0.0, timeout - (monotonic() - started))
        self._next_step.join(remaining)

    def abandon(self) -> None:
        """Give up what is in flight: it is not committed, and its next owner sends it."""
        works = [work for works in self._works.values() for work in works]
        messages = sum(work.unsettled for work in works)
        if messages:
            log.warning("abandoned", messages=messages, what_now="their next owner sends them")
        self._pool.abandon(works)
        self._works.clear()
        self._held.clear()
        self._in_flight_bytes = 0
