"""The chain of steps: the only place where they are put together."""

from __future__ import annotations

from collections.abc import Mapping

from arroyo.processing.strategies import CommitOffsets
from arroyo.processing.strategies.abstract import ProcessingStrategyFactory
from arroyo.types import Commit, Partition

from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.strategies.dead_letter import DeadLetterStore, KeepDeadLetters
from consumer_fleet.strategies.run_in_workers import RunInWorkers
from consumer_fleet.worker.pool import WorkerPool


class Pipeline(ProcessingStrategyFactory[Chunk]):
    """Makes the chain at every assignment; the workers and the producer outlive it.

    A chunk goes to a worker, which decodes and delivers each message (``RunInWorkers``); rejected
    messages go to the dead letter topic (``KeepDeadLetters``); the settled prefix of the
    partition is committed, once per second (arroyo's ``CommitOffsets``).
    """

    def __init__(
        self, pool: WorkerPool, dead_letters: DeadLetterStore, *, max_in_flight_bytes: int
    ) -> None:
        self._pool = pool
        self._dead_letters = dead_letters
        self._max_in_flight_bytes = max_in_flight_bytes
        self._current: RunInWorkers | None = None
        self._keeping: KeepDeadLetters | None = None

    def create_with_partitions(
        self, commit: Commit, partitions: Mapping[Partition, int]
    ) -> RunInWorkers:
        self._keeping = KeepDeadLetters(self._dead_letters, CommitOffsets(commit))
        self._current = RunInWorkers(
            self._pool,
            self._keeping,
            max_in_flight_bytes=self._max_in_flight_bytes,
        )
        return self._current

    @property
    def idle(self) -> bool:
        """Everything that was read is settled and kept."""
        if self._current is None:
            return True
        return self._current.idle and not self._current.is_owed_one and self._dead_letters.idle

    def abandon(self) -> None:
        """Give up what is in flight; the partitions are gone."""
        if self._current is not None:
            self._current.abandon()
        if self._keeping is not None:
            self._keeping.abandon()

    @property
    def in_flight_bytes(self) -> int:
        return 0 if self._current is None else self._current.in_flight_bytes
