"""The chain of steps, assembled here only, and its last step, which commits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from arroyo.processing.strategies import CommitOffsets
from arroyo.processing.strategies.abstract import ProcessingStrategyFactory
from arroyo.types import Commit, Message, Partition

from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.strategies.assembler import Assembler
from consumer_fleet.strategies.dead_letter import DeadLetterStore, KeepDeadLetters
from consumer_fleet.strategies.run_in_workers import RunInWorkers, Settled
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.work import PoolShare


class Pipeline(ProcessingStrategyFactory[Chunk]):
    """Make the chain at every assignment; the workers and the producer outlive it.

    A worker decodes and delivers each message of a chunk (``RunInWorkers``). Rejected messages go
    to the dead-letter topic (``KeepDeadLetters``). The settled prefix of the partition is
    committed, once per second (``CommitSettled``, which is arroyo's ``CommitOffsets``).
    """

    def __init__(
        self, pool: PoolShare, dead_letters: DeadLetterStore, *, max_in_flight_bytes: int
    ) -> None:
        self._pool = pool
        self._dead_letters = dead_letters
        self._max_in_flight_bytes = max_in_flight_bytes
        #: Set if envelopes may be spread over messages.
        self.assembler: Assembler | None = None
        #: What its destination limits or refuses alone. It outlives assignments, too.
        self.holding: Holding | None = None
        #: How much of the budget is for others: where topics share it, what they all have, so
        #: that one that stands still leaves as much free as it takes.
        self.kept_free: Callable[[], int] = lambda: 0
        self._current: RunInWorkers | None = None
        self._keeping: KeepDeadLetters | None = None

    def create_with_partitions(
        self, commit: Commit, partitions: Mapping[Partition, int]
    ) -> RunInWorkers:
        if self.holding is not None:
            self.holding.resume()
        commit_settled = CommitSettled(commit, self._pool.open_offsets, self.holding)
        self._keeping = KeepDeadLetters(self._dead_letters, commit_settled)
        self._current = RunInWorkers(
            self._pool,
            self._keeping,
            max_in_flight_bytes=self._max_in_flight_bytes,
            assembler=self.assembler,
            holding=self.holding,
        )
        self._current.kept_free = self.kept_free
        return self._current

    @property
    def is_blocked(self) -> bool:
        """Whether arroyo holds a chunk for which there is no room."""
        return self._current is not None and self._current.is_blocked

    def poll(self) -> None:
        if self._current is not None:
            self._current.poll()

    def begin_end(self, deadline: float) -> None:
        """Have the workers drain. The join will end at the deadline, by ``time.monotonic``."""
        if self._current is not None:
            self._current.begin_end(deadline)

    def terminate(self) -> None:
        """Give up all: the join will end at once."""
        if self._current is not None:
            self._current.begin_end(0.0)
            self._current.terminate()

    @property
    def idle(self) -> bool:
        """Whether everything that was read is settled, and each dead letter stored."""
        if self._current is None:
            return True
        steps_idle = self._current.idle and not self._current.awaits_rejected_chunk
        return steps_idle and self._dead_letters.idle

    def abandon(self) -> None:
        """Give up what is in flight: the partitions are gone."""
        if self._current is not None:
            self._current.abandon()
        if self._keeping is not None:
            self._keeping.abandon()
        if self.assembler is not None:
            self.assembler.abandon()

    def finish(self) -> bool:
        """Nothing more will be read: finish what waits for it. Returns whether all is settled."""
        is_settled = True
        if self.assembler is not None and not self.assembler.is_empty:
            self.assembler.finish_all()
            is_settled = False
        if self.holding is not None and not self.holding.is_empty:
            self.holding.finish()
            is_settled = False
        return is_settled

    def oldest_unsettled(self, partition: Partition) -> int | None:
        """The offset of the partition's first message that is not settled, of those in flight."""
        return None if self._current is None else self._current.oldest_unsettled(partition)

    @property
    def in_flight_bytes(self) -> int:
        return 0 if self._current is None else self._current.in_flight_bytes


class CommitSettled(CommitOffsets):
    """Arroyo's step, which first ends the held messages whose dead letters are stored, and notes
    what was given up at a drain: the commit stays at the oldest that is held or given up.
    """

    def __init__(self, commit: Commit, open_offsets: OpenOffsets, holding: Holding | None) -> None:
        super().__init__(commit)
        self._open_offsets = open_offsets
        self._holding = holding

    def submit(self, message: Message[Settled]) -> None:
        if message.payload.left:
            for partition in message.committable:
                self._open_offsets.leave(partition, message.payload.left)
        if self._holding is not None:
            for entry in message.payload.ended:
                self._holding.stored(entry)
        super().submit(message)
