"""The pool's decisions, with a clock and workers of the test's own."""

from __future__ import annotations

import errno

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.errors import FleetError, SystemFailure
from consumer_fleet.worker import pool as pool_module
from consumer_fleet.worker import protocol
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import MAX_DEATHS, WorkerPool
from consumer_fleet.worker.protocol import Receipts
from consumer_fleet.worker.work import Work
from tests.support.clock import ManualClock
from tests.support.codecs import obey
from tests.support.records import chunk
from tests.support.workers import HandWorker


def test_a_system_that_starts_no_process_ends_the_run_after_five_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock(1000.0)
    monkeypatch.setattr(pool_module, "monotonic", clock)
    failures: list[FleetError] = []

    def refuse(*_args: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    pool = WorkerPool(
        WorkerSpec(obey, Options()),
        1,
        message_timeout_s=60,
        on_failure=failures.append,
        start_worker=refuse,  # type: ignore[arg-type]  # it never returns
    )
    pool.start()
    for _ in range(4):
        assert not pool.is_hopeless
        clock.now += 10
        pool.poll()
    (failure,) = failures
    assert isinstance(failure, SystemFailure)
    assert "can't start a process: Resource temporarily unavailable" in str(failure)
    assert pool.is_hopeless
    pool.stop(0.0)


class _Pool:
    """A pool of workers that the test drives by hand, in the order of their start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
        self.clock = ManualClock(1000.0)
        monkeypatch.setattr(pool_module, "monotonic", self.clock)
        self.workers: list[HandWorker] = []
        self.pool = WorkerPool(
            WorkerSpec(obey, Options()),
            workers,
            message_timeout_s=60.0,
            on_failure=lambda error: pytest.fail(str(error)),
            start_worker=self._start,
        )
        self.share = self.pool.share()
        self.pool.start()
        self._get_ready()

    def _start(self, *_: object) -> HandWorker:
        self.workers.append(HandWorker())
        return self.workers[-1]

    def _get_ready(self) -> None:
        for worker in self.workers:
            if worker.alive:
                worker.boot()
        self.pool.poll()

    def replace_the_dead(self) -> None:
        """Notice the dead, and wait until their successors start."""
        self.pool.poll()
        self.clock.now += 10
        self.pool.poll()

    def restart(self) -> None:
        """Replace the dead, and let their successors get ready."""
        self.replace_the_dead()
        self._get_ready()


def test_what_a_dead_worker_had_delivered_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    work = Work(chunk(10, 4))
    scene.share.submit(work)
    (worker,) = scene.workers
    worker.deliver(worker.tasks[0], 1, 2)
    worker.die()
    scene.restart()
    assert scene.workers[1].tasks[0].numbers == [0, 3]
    assert scene.pool.outcomes.delivered == 2


def test_a_destination_that_has_a_dead_workers_message_is_named_to_its_successor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    scene.share.submit(Work(chunk(10, 2)))
    (worker,) = scene.workers
    region = worker.tasks[0].region
    worker.shared.receipts[region + 1] |= protocol.ACCEPTED_BY["saas"]
    worker.die()
    scene.restart()
    assert scene.workers[1].tasks[0].accepted_by == {1: ["saas"]}


def test_a_dead_workers_chunks_go_first_and_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    for first in (0, 10):
        scene.share.submit(Work(chunk(first, 2)))
    scene.workers[0].die()
    scene.pool.poll()
    scene.share.submit(Work(chunk(20, 2)))
    scene.restart()
    assert [task.offsets[0] for task in scene.workers[1].tasks] == [0, 10, 20]


def test_a_worker_that_boots_holds_back_no_chunk_that_another_can_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch, workers=2)
    scene.workers[0].die()
    scene.replace_the_dead()
    _, other, booting = scene.workers
    for first in (0, 10, 20):
        scene.share.submit(Work(chunk(first, 2)))
    assert [task.offsets[0] for task in other.tasks] == [0, 10, 20]
    booting.boot()
    scene.pool.poll()
    scene.share.submit(Work(chunk(30, 2)))
    assert [task.offsets[0] for task in booting.tasks] == [30]


def test_a_chunk_waits_for_the_first_worker_that_has_booted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch, workers=2)
    for worker in scene.workers:
        worker.die()
    scene.replace_the_dead()
    *_, slow, fast = scene.workers
    assert scene.share.has_room
    scene.share.submit(Work(chunk(0, 2)))
    assert not scene.share.has_room, "the one that waits is enough"
    fast.boot()
    scene.pool.poll()
    assert [task.offsets[0] for task in fast.tasks] == [0]
    assert not slow.tasks


def test_a_suspect_goes_alone_to_a_worker_that_has_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    work, other = Work(chunk(10, 3)), Work(chunk(20, 1))
    scene.share.submit(work)
    worker = scene.workers[0]
    worker.die((worker.tasks[0], 1))
    scene.restart()
    successor = scene.workers[1]
    (rest,) = successor.tasks
    assert rest.numbers == [0, 2], "the suspect waits for a worker without other messages"
    successor.deliver(rest, 0, 2)
    successor.done(rest)
    scene.pool.poll()
    scene.pool.poll()
    assert successor.tasks[-1].numbers == [1]
    assert not scene.share.has_room, "nothing goes to the worker that has a suspect"
    scene.share.submit(other)
    assert len(successor.tasks) == 2
    successor.deliver(successor.tasks[1], 1)
    successor.done(successor.tasks[1])
    scene.pool.poll()
    assert successor.tasks[-1].offsets == [20]


def test_a_message_that_has_ended_three_workers_in_a_row_is_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    work = Work(chunk(10, 1))
    scene.share.submit(work)
    for deaths in range(1, MAX_DEATHS + 1):
        assert not work.is_settled(0)
        worker = scene.workers[-1]
        assert len(worker.tasks) == 1, f"sent again after {deaths - 1} deaths"
        worker.die((worker.tasks[0], 0))
        scene.restart()
    advance = work.advance()
    assert advance is not None
    (letter,) = advance.dead_letters
    assert letter.reason == "worker_killed"
    assert letter.record.offset == 10
    assert scene.pool.outcomes.rejected == {"worker_killed": 1}


def test_a_worker_that_is_silent_over_a_message_is_killed_and_a_destination_is_no_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    scene.share.submit(Work(chunk(10, 1)))
    worker = scene.workers[0]
    monkeypatch.setattr(protocol.SharedState, "silent_s", 59.0)
    scene.pool.poll()
    assert worker.alive
    monkeypatch.setattr(protocol.SharedState, "silent_s", 61.0)
    scene.pool.poll()
    assert not worker.alive


def test_a_rejected_message_is_a_dead_letter_with_its_own_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    work = Work(chunk(10, 3))
    scene.share.submit(work)
    (worker,) = scene.workers
    task = worker.tasks[0]
    worker.deliver(task, 0, 2)
    worker.receipts(Receipts(task.task_id, rejected=[(1, "bad_message", "it said so")]))
    worker.done(task)
    scene.pool.poll()
    advance = work.advance()
    assert advance is not None
    (letter,) = advance.dead_letters
    assert (letter.record.offset, letter.reason) == (11, "bad_message")


def test_a_region_is_used_again_only_after_the_worker_is_done_and_without_old_receipts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = _Pool(monkeypatch)
    gone = Work(chunk(10, 3))
    scene.share.submit(gone)
    (worker,) = scene.workers
    old = worker.tasks[0]
    scene.pool.abandon([gone])
    scene.share.submit(Work(chunk(20, 3)))
    busy = worker.tasks[1]
    assert not range(max(old.region, busy.region), min(old.region, busy.region) + 3), "they overlap"
    worker.deliver(old, 0, 1, 2)
    worker.done(old)
    scene.pool.poll()
    scene.share.submit(Work(chunk(30, 3)))
    assert worker.tasks[2].region == old.region
    worker.shared.announce()
    scene.pool.poll()
    assert scene.pool.outcomes.delivered == 0, "receipts of an abandoned task settled others"
