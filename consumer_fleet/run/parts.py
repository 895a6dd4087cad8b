"""The parts that a run is assembled of: sources, stores of rejected messages, and the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.run.sources import Hooks, LocalChunkConsumer, Rest
from consumer_fleet.strategies.dead_letter import DeadLetterStore
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.process import StartWorker, WorkerProcess


class Source(Protocol):
    """Where the messages of a topic come from."""

    @property
    def topic(self) -> str: ...

    @property
    def has_end(self) -> bool:
        """Whether the run ends by itself, once all messages are settled."""

    def wait(self, pause: Callable[[float], None], given_up: Callable[[], bool]) -> None:
        """Block until it can be opened or is given up; ``pause`` passes the time in between.

        Called in a thread of its own.
        """

    def open(self, hooks: Hooks) -> ChunkConsumer | LocalChunkConsumer:
        """Return what arroyo's loop polls. Called once, after ``wait``."""

    def rest(self, settled: int) -> Rest:
        """Return how much is left, given the number of settled messages."""

    def is_settled(self, settled: int) -> bool:
        """Whether nothing was left when the run was asked to stop."""


class RejectStore(DeadLetterStore, Protocol):
    """Where the rejected messages of a topic go."""

    @property
    def blocked(self) -> bool:
        """Whether it takes nothing at the moment."""

    def close(self, timeout_s: float) -> None:
        """Called once, when nothing more comes."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The work on each message, the number of workers, and their bounds."""

    spec: WorkerSpec
    workers: int
    message_timeout_s: float
    max_in_flight_bytes: int
    start_worker: StartWorker = WorkerProcess
    #: How long workers may take to stop before they are killed.
    stop_timeout_s: float = 3.0

    @classmethod
    def of(cls, spec: WorkerSpec, options: Options) -> Self:
        return cls(
            spec,
            options.worker_count,
            options.message_timeout_s,
            options.max_in_flight_mb * 1024 * 1024,
        )
