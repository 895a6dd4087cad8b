"""A task in a worker, and its receipts."""

from __future__ import annotations

from typing import Protocol

from sentry_sdk.tracing import Span

from consumer_fleet.capture.held import Held
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.worker import protocol
from consumer_fleet.worker.protocol import Parked, Receipts, SharedState, Task


class TaskOwner(Protocol):
    """The worker, as its tasks see it."""

    shared: SharedState
    #: Messages that are captured and not settled.
    in_flight: int
    has_deliveries: bool

    @property
    def news(self) -> dict[int, RunningTask]:
        """Tasks with receipts to send, or that are done."""


class RunningTask:
    """A task in the worker: the next message to start, and the receipts to send.

    It is the recipient of its envelopes, which it knows by their numbers. It is abandoned if its
    partition has moved: the new owner delivers the messages.
    """

    def __init__(self, task: Task, worker: TaskOwner) -> None:
        self.task = task
        # The position of the next message to start.
        self.next = 0
        self.unsettled = len(task.numbers)
        self.abandoned = False
        self.draining = False
        self.can_hold = True
        self.receipts = Receipts(task.task_id)
        self.trace: Span | None = None
        self._worker = worker
        self._marks = worker.shared.receipts
        self._region = task.region

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        """Called by the transport: a captured message is settled."""
        worker = self._worker
        worker.in_flight -= 1
        if self.abandoned:
            return
        self.unsettled -= 1
        if rejection is None:
            # Here and now: a death of this worker must not lose it.
            self._marks[self._region + number] |= protocol.DELIVERED
            worker.has_deliveries = True
        else:
            self.receipts.rejected.append((number, rejection.reason, rejection.detail))
            worker.news[self.task.task_id] = self
        if self.unsettled == 0:
            worker.news[self.task.task_id] = self

    def held(self, number: int, held: Held) -> None:
        """Called by the transport: a captured message must wait, and others may pass it."""
        worker = self._worker
        worker.in_flight -= 1
        if not self.abandoned:
            self.unsettled -= 1
            self.receipts.held.append((number, held.packed()))
            worker.news[self.task.task_id] = self

    def given_up(self, number: int) -> None:
        """Called by the transport while draining: a captured message can't be sent now."""
        worker = self._worker
        worker.in_flight -= 1
        if not self.abandoned:
            self.unsettled -= 1
            self.receipts.given_up.append(number)
            worker.news[self.task.task_id] = self

    def accepted(self, number: int, destination: str) -> None:
        """Called by the transport: one of two destinations has the message."""
        # Not after the task's end: its region may be another's then.
        if self.unsettled and not self.abandoned:
            self._marks[self._region + number] |= protocol.ACCEPTED_BY[destination]

    def dropped(self, number: int) -> None:
        """Called by the transport: no destination takes any item of a captured message."""
        self._worker.in_flight -= 1
        if not self.abandoned:
            self.filtered(number, "dropped_items")

    def filtered(self, number: int, reason: str) -> None:
        self.unsettled -= 1
        self.receipts.filtered.append((number, reason))
        self._worker.news[self.task.task_id] = self

    def rejected(self, number: int, rejection: RejectedMessage) -> None:
        self.unsettled -= 1
        self.receipts.rejected.append((number, rejection.reason, rejection.detail))
        self._worker.news[self.task.task_id] = self

    def parked(self, message: Parked) -> None:
        """The message is on disk, where a successor of this worker finds it."""
        self.unsettled -= 1
        self.receipts.parked.append(message)
        self._worker.news[self.task.task_id] = self

    def take_receipts(self) -> Receipts | None:
        """The receipts to send, if any."""
        receipts = self.receipts
        if receipts.is_empty:
            return None
        self.receipts = Receipts(self.task.task_id)
        return receipts
