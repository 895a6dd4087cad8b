"""The workers on the fleet view: how each of them ended is shown for a while."""

from __future__ import annotations

from typing import cast

import pytest

from consumer_fleet.run.fleet_watch import WorkerWatch
from consumer_fleet.worker.process import Slot, WorkerHandle


class Handle:
    """A worker's process that ends as the test says."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.exit_code: int | None = None


def as_handle(handle: Handle) -> WorkerHandle:
    return cast(WorkerHandle, handle)


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [
        (-9, "process 7 was ended by SIGKILL 0s ago"),
        (-99, "process 7 was ended by signal 99 0s ago"),
        (3, "process 7 ended with exit code 3 0s ago"),
        (None, "process 7 ended 0s ago"),
    ],
)
def test_a_worker_that_ended_is_shown_with_its_cause_until_and_after_it_is_replaced(
    exit_code: int | None, text: str
) -> None:
    handle = Handle(7)
    slot = Slot(1, as_handle(handle), ready=True)
    watch = WorkerWatch()
    (before,) = watch.look([slot])
    assert (before.state, before.severity, before.cause) == ("ready", 0, None)
    handle.exit_code = exit_code
    slot.process, slot.ready = None, False
    (gone,) = watch.look([slot])
    assert (gone.state, gone.severity, gone.cause) == ("waiting to restart", 2, text)
    slot.process = as_handle(Handle(8))
    (booting,) = watch.look([slot])
    assert (booting.state, booting.severity, booting.pid) == ("starting", 2, 8)
    slot.ready = True
    (ready,) = watch.look([slot])
    assert (ready.state, ready.severity, ready.cause) == ("ready", 1, text)


def test_a_worker_that_is_replaced_between_two_looks_is_shown_too() -> None:
    handle = Handle(7)
    slot = Slot(1, as_handle(handle), ready=True)
    watch = WorkerWatch()
    watch.look([slot])
    handle.exit_code = -11
    slot.process = as_handle(Handle(8))
    (ready,) = watch.look([slot])
    assert ready.cause == "process 7 was ended by SIGSEGV 0s ago"
