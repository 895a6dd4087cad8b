"""The envelopes that are spread over messages, beside the step that gives chunks to workers.

A worker that decodes a part of such an envelope puts it on disk, so that its message leaves the
window of messages in flight: only its commit waits. Once all parts are there, the message that
names them is given to a worker again, with the location of each. No worker keeps anything of it in
memory, so any of them may do so, whatever partition or key the parts have come by.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from arroyo.types import Partition

from consumer_fleet.kafka.chunk import Chunk, DeadLetter, Record
from consumer_fleet.metrics import gauge
from consumer_fleet.strategies.dead_letter import DeadLetterStore, Ticket
from consumer_fleet.worker.assemblies import Assemblies, ParkedMessage, Piece, Position
from consumer_fleet.worker.assembly_files import AssemblyFiles
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.protocol import Parked, ParkedFragment
from consumer_fleet.worker.work import PoolShare, Work

# Bytes of dead letters on their way into the store at a time: they are read from disk for it.
_MAX_LETTER_BYTES: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class _Stored:
    """A message on disk: its record without the value, whose length is kept."""

    partition: Partition
    record: Record
    length: int


@dataclass(slots=True)
class _Rejected:
    """A message that becomes a dead letter; ``ticket`` once it is on its way into the store."""

    position: Position
    reason: str
    detail: str
    ticket: Ticket | None = None


class Assembler:
    """See the module. It outlives assignments, and lives in the run loop's thread.

    ``max_sending_bytes`` bounds what workers send at a time; a larger envelope goes alone.
    """

    def __init__(
        self,
        pool: PoolShare,
        dead_letters: DeadLetterStore,
        files: AssemblyFiles,
        assemblies: Assemblies,
        holding: Holding,
        *,
        max_sending_bytes: int,
    ) -> None:
        self._pool = pool
        self._dead_letters = dead_letters
        self._files = files
        self._assemblies = assemblies
        self._holding = holding
        self._max_sending_bytes = max_sending_bytes
        self._stored: dict[Position, _Stored] = {}
        self._sending: dict[Position, Work] = {}
        self._sending_bytes = 0
        # Wholes that their destination limits or refuses alone: ``holding`` sends them.
        self._held: set[Position] = set()
        self._rejected: deque[_Rejected] = deque()
        pool.on_parked = self._park
        holding.on_delivered = self._held_delivered
        holding.on_rejected = self._held_rejected
        pool.open_offsets.on_forget.append(self._forget)

    @property
    def is_busy(self) -> bool:
        """Whether anything is being sent or dead-lettered."""
        return bool(self._sending or (self._rejected and not self._dead_letters.is_off))

    @property
    def is_drained(self) -> bool:
        """Whether all that is being sent was given up, and nothing is dead-lettered."""
        if self._rejected and not self._dead_letters.is_off:
            return False
        return all(work.is_drained for work in self._sending.values())

    @property
    def is_empty(self) -> bool:
        return self._assemblies.is_empty and not self._rejected

    @property
    def has_room(self) -> bool:
        """Whether more may be read: beyond its share of the disk, it delivers first."""
        return not self._assemblies.is_full and not self._rejected

    def poll(self, *, may_send: bool) -> None:
        """Settle what was sent, and give out what is complete. Never blocks, but on the disk."""
        if self.is_empty:
            return
        for position in [each for each, work in self._sending.items() if not work.unsettled]:
            self._sent(position)
        for position, reason in self._assemblies.take_skipped():
            self._pool.count_filtered(self._stored[position].partition, reason, 1)
            self._release(position)
        self._dead_letter()
        while may_send and self._send_next():
            pass

    def expire(self, now_ms: int | None) -> None:
        """Finish what has waited for too long; ``now_ms`` as for ``Assemblies.expire``."""
        gauge("attachments.waiting_bytes", self._assemblies.size)
        if now_ms is not None:
            self._assemblies.expire(now_ms)

    def finish_all(self) -> None:
        """Nothing more will arrive."""
        self._assemblies.finish_all()

    def abandon(self) -> None:
        """Give up what is being sent: it stays on disk, and is sent again if it is still ours."""
        self._pool.abandon(list(self._sending.values()))
        for position in self._sending:
            self._assemblies.take_back(position)
        self._sending.clear()
        self._sending_bytes = 0
        for each in self._rejected:
            # The store has forgotten what it had not kept.
            each.ticket = None

    # -- what workers report --------------------------------------------------------------------

    def _park(self, chunk: Chunk, parked: Parked) -> None:
        record = chunk.records[parked.number]
        position = chunk.partition.index, record.offset
        length = len(record.value or b"")
        self._stored[position] = _Stored(chunk.partition, record._replace(value=None), length)
        message = ParkedMessage(position, parked.size, record.timestamp_ms or 0)
        if isinstance(parked, ParkedFragment):
            piece = Piece(position, parked.start, parked.length)
            self._assemblies.add_fragment(message, parked.blob, parked.fragment, piece)
        else:
            self._assemblies.add_whole(message, parked.blobs)

    def _forget(self, partition: Partition, offset: int) -> None:
        index = partition.index
        if not any(each[0] == index and each[1] >= offset for each in self._stored):
            return
        self.abandon()
        for position in [each for each in self._held if each[0] == index and each[1] >= offset]:
            self._held.discard(position)
            self._assemblies.take_back(position)
        gone = self._assemblies.forget(index, offset)
        rejected = [each.position for each in self._rejected]
        gone += [each for each in rejected if each[0] == index and each[1] >= offset]
        for position in gone:
            del self._stored[position]
            # A held whole of another partition may still be made of it.
            if not self._held:
                self._files.remove(position)
        self._rejected = deque(each for each in self._rejected if each.position in self._stored)

    # -- what is complete -----------------------------------------------------------------------

    def _send_next(self) -> bool:
        ready = self._assemblies.peek()
        if ready is None or not self._pool.has_room:
            return False
        size = ready.length + self._stored[ready.position].length
        if self._sending and self._sending_bytes + size > self._max_sending_bytes:
            return False
        self._assemblies.give()
        stored = self._stored[ready.position]
        chunk = Chunk(stored.partition, (self._record(ready.position),), size)
        work = Work(chunk, ready.pieces)
        self._sending[ready.position] = work
        self._sending_bytes += size
        self._pool.submit(work)
        return True

    def _record(self, position: Position) -> Record:
        stored = self._stored[position]
        return stored.record._replace(value=self._files.read(position, stored.length))

    def _sent(self, position: Position) -> None:
        work = self._sending.pop(position)
        self._sending_bytes -= work.chunk.size
        if self._holding.has(work.chunk.partition, position[1]):
            self._held.add(position)
            return
        advance = work.advance()
        if advance is not None and advance.dead_letters:
            letter = advance.dead_letters[0]
            self._rejected.append(_Rejected(position, letter.reason, letter.detail))
            self._reject_parts(position, letter)
        else:
            self._deliver(position)

    def _deliver(self, position: Position) -> None:
        parts = self._assemblies.done(position)
        self._pool.outcomes.count_delivered(len(parts))
        behind = []
        for each in parts:
            behind.append((self._stored.pop(each).partition, each[1]))
            self._files.remove(each)
        whole = self._stored[position].partition
        self._release(position)
        self._pool.open_offsets.settle_behind(whole, position[1], behind)

    def _reject_parts(self, position: Position, letter: DeadLetter) -> None:
        """They go with their whole: a replay of the dead letters makes the envelope again."""
        for each in self._assemblies.done(position):
            self._pool.outcomes.count_rejected(letter.reason)
            self._rejected.append(_Rejected(each, letter.reason, letter.detail))

    def _held_delivered(self, partition: Partition, offset: int) -> None:
        position = partition.index, offset
        self._held.discard(position)
        self._deliver(position)

    def _held_rejected(self, partition: Partition, offset: int, letter: DeadLetter) -> None:
        # The whole's own dead letter is made where it is held.
        position = partition.index, offset
        self._held.discard(position)
        self._reject_parts(position, letter)
        del self._stored[position]
        self._files.remove(position)

    def _release(self, position: Position) -> None:
        stored = self._stored.pop(position)
        self._pool.open_offsets.settle(stored.partition, position[1])
        self._files.remove(position)

    def _dead_letter(self) -> None:
        """Hand the messages of rejected envelopes to the store, a few megabytes at a time."""
        while self._rejected and (ticket := self._rejected[0].ticket) is not None and ticket.kept:
            self._release(self._rejected.popleft().position)
        waiting_bytes = 0
        for each in self._rejected:
            stored = self._stored[each.position]
            if each.ticket is None:
                letter = DeadLetter(self._record(each.position), each.reason, each.detail)
                each.ticket = self._dead_letters.produce(stored.partition, letter)
            waiting_bytes += stored.length
            if waiting_bytes > _MAX_LETTER_BYTES:
                return
