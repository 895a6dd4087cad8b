"""A place for a worker in the pool, and what the worker there was given."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.capture.status import DestinationStatus
from fleet.worker.board import Suspect
from fleet.worker.handle import WorkerHandle
from fleet.worker.work import Work

# Two chunks each: one to work on, and one that is there when the first is done.
QUEUE_MESSAGES = 1000


@dataclass(slots=True)
class Assignment:
    """Messages of one chunk that one worker has, or that wait for one."""

    work: Work
    indexes: list[int]
    # The message has killed a worker before: it goes alone.
    alone: bool = False


@dataclass(slots=True)
class Slot:
    """A place for a worker: the worker of the moment and what it was given."""

    number: int
    process: WorkerHandle | None = None
    ready: bool = False
    tasks: dict[int, Assignment] = field(default_factory=dict)
    restart_at: float = 0.0
    failed_boots: int = 0
    short_lives: int = 0
    boot_error: tuple[str, int] | None = None
    statuses: list[DestinationStatus] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        return sum(task.work.unsettled for task in self.tasks.values())

    @property
    def isolating(self) -> bool:
        return any(task.alone for task in self.tasks.values())

    @property
    def can_take(self) -> bool:
        """Whether it may get another chunk without having two of them waiting."""
        return self.process is not None and not self.isolating and self.outstanding < QUEUE_MESSAGES

    def place_of(self, suspect: Suspect | None) -> str | None:
        """``topic/partition@offset`` of the message that the worker had in its hands."""
        assignment = None if suspect is None else self.tasks.get(suspect.task_id)
        if suspect is None or assignment is None:
            return None
        chunk = assignment.work.chunk
        offset = chunk.records[suspect.index].offset
        return f"{chunk.partition.topic.name}/{chunk.partition.index}@{offset}"
