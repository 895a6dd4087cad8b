"""One of the pool's workers, and what it was given."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.worker.boot_failures import BootFailure
from consumer_fleet.worker.process import WorkerHandle
from consumer_fleet.worker.protocol import Regions, Suspect
from consumer_fleet.worker.work import Assignment

# Two chunks per worker: one to work on, and one that is ready when the first is done.
_QUEUE_MESSAGES = 1000


@dataclass(slots=True)
class Slot:
    """One of the pool's workers: its present process, and the tasks that it was given."""

    number: int
    process: WorkerHandle | None = None
    ready: bool = False
    tasks: dict[int, Assignment] = field(default_factory=dict)
    # Tasks that were abandoned and whose worker has not said DONE: their regions.
    cancelled: dict[int, tuple[int, int]] = field(default_factory=dict)
    regions: Regions = field(default_factory=Regions)
    restart_at: float = 0.0
    short_lives: int = 0
    boot_error: BootFailure | None = None
    statuses: list[DestinationStatus] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        return sum(task.work.unsettled for task in self.tasks.values())

    @property
    def isolating(self) -> bool:
        return any(task.alone for task in self.tasks.values())

    @property
    def can_take(self) -> bool:
        """Whether it may get another chunk: it has fewer than two waiting."""
        return (
            self.process is not None and not self.isolating and self.outstanding < _QUEUE_MESSAGES
        )

    def describe(self, suspect: Suspect | None) -> str | None:
        """Name the message that the worker was decoding, as ``topic/partition@offset``."""
        assignment = None if suspect is None else self.tasks.get(suspect.task_id)
        if suspect is None or assignment is None:
            return None
        chunk = assignment.work.chunk
        offset = chunk.offset_of(suspect.number)
        return f"{chunk.partition.topic.name}/{chunk.partition.index}@{offset}"
