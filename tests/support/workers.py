"""A worker whose frames the test writes by hand."""

from __future__ import annotations

from multiprocessing import get_context
from time import monotonic

from consumer_fleet.worker import protocol
from consumer_fleet.worker.protocol import Kind, Receipts, SharedState, Task


class HandWorker:
    """The parent's side of a worker that does nothing by itself."""

    pid = 1
    alive = True
    exit_code: int | None = None

    def __init__(self) -> None:
        self.started_at = monotonic()
        self.shared = SharedState(get_context("spawn"))
        self.sent: list[bytes] = []
        self.frames: list[bytes] = []

    @property
    def tasks(self) -> list[Task]:
        """The tasks that it was given so far."""
        decoded = [protocol.decode(frame) for frame in self.sent if frame != protocol.STOP]
        return [protocol.as_task(fields) for kind, fields in decoded if kind is Kind.TASK]

    def boot(self) -> None:
        """Say at the next poll that it is ready."""
        self.frames.append(protocol.encode_ready(self.started_at))

    def receipts(self, receipts: Receipts) -> None:
        """Answer with these at the next poll."""
        self.frames.append(protocol.encode_receipts(receipts))

    def deliver(self, task: Task, *numbers: int) -> None:
        """Mark messages of a task as delivered, as a worker does before it tells the parent."""
        for number in numbers:
            self.shared.receipts[task.region + number] |= protocol.DELIVERED

    def done(self, task: Task) -> None:
        """Say that nothing more is written into the task's region."""
        self.frames.append(protocol.encode_done(task.task_id))

    def die(self, decoding: tuple[Task, int] | None = None, *, exit_code: int = -9) -> None:
        """End, perhaps while it decodes a message of a task."""
        if decoding is not None:
            self.shared.begin(decoding[0].task_id, decoding[1])
        self.alive, self.exit_code = False, exit_code

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def take_frames(self) -> list[bytes]:
        frames, self.frames = self.frames, []
        return frames

    def stop(self) -> None:
        self.send(protocol.STOP)

    def kill(self) -> None:
        self.alive = False

    def join(self, timeout_s: float) -> bool:
        return True
