"""Messages that a worker has parked: they leave the window, and only the commit waits for them."""

from __future__ import annotations

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.consumers import registry
from consumer_fleet.errors import EXIT_OUTPUT, FleetError, OutputError
from consumer_fleet.worker import protocol
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.protocol import ParkedFragment, Receipts
from consumer_fleet.worker.work import Work
from tests.support.records import chunk, partition
from tests.support.workers import HandWorker


def started(worker: HandWorker, failures: list[FleetError]) -> WorkerPool:
    pool = WorkerPool(
        WorkerSpec(registry.get("events").decode, Options()),
        1,
        message_timeout_s=60.0,
        on_failure=failures.append,
        start_worker=lambda *_: worker,
    )
    pool.start()
    return pool


def test_a_disk_that_refuses_a_parked_message_ends_the_run_at_once() -> None:
    worker = HandWorker()
    failures: list[FleetError] = []
    pool = started(worker, failures)
    worker.boot()
    worker.frames.append(protocol.encode_failed("no space", EXIT_OUTPUT))
    pool.poll()
    assert [(type(each), str(each)) for each in failures] == [(OutputError, "no space")]
    assert pool.is_hopeless, "a drain would wait for its successors"


def test_a_parked_message_frees_its_chunk_and_keeps_the_commit_until_it_is_settled() -> None:
    worker = HandWorker()
    worker.boot()
    pool = started(worker, [])
    pool.poll()
    work = Work(chunk(10, 3))
    share = pool.share()
    share.submit(work)
    task = worker.tasks[0]
    fragment = ParkedFragment(1, 4096, b"key", 0, 5, 100)
    noted = []
    share.on_parked = lambda chunk, parked: noted.append((chunk, parked))
    worker.receipts(Receipts(task.task_id, filtered=[(0, "old"), (2, "old")], parked=[fragment]))
    pool.poll()
    assert noted == [(work.chunk, fragment)]
    advance = work.advance()
    assert advance is not None
    assert (advance.next_offset, work.done, work.unsettled) == (13, True, 0)
    assert share.open_offsets.commit_of(partition(), 13, "")[0] == 11
    share.open_offsets.settle(partition(), 11)
    assert share.open_offsets.commit_of(partition(), 13, "") == (13, "skipped=old:2")
    assert share.open_offsets.take_changed() == [partition()]
