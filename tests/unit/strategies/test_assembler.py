"""Envelopes spread over messages, beside the chunks: with a worker that the test writes by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from arroyo.types import Partition

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.held import Held
from consumer_fleet.consumers.ingest_attachments import IngestAttachments
from consumer_fleet.kafka.chunk import Chunk, DeadLetter, Record
from consumer_fleet.strategies.assembler import Assembler
from consumer_fleet.worker.assemblies import Assemblies, Piece
from consumer_fleet.worker.assembly_files import AssemblyFiles
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.protocol import Parked, ParkedFragment, ParkedWhole, Receipts, Task
from consumer_fleet.worker.work import Work
from tests.support.processes import wait_until
from tests.support.records import partition
from tests.support.workers import HandWorker

BLOB = b"blob"


class Kept:
    """The ticket of a dead letter."""

    kept = False


class Letters:
    """A store of dead letters that keeps them when the test says so."""

    is_off = False
    idle = True

    def __init__(self) -> None:
        self.letters: list[tuple[DeadLetter, Kept]] = []

    def produce(self, partition: Partition, letter: DeadLetter) -> Kept:
        ticket = Kept()
        self.letters.append((letter, ticket))
        return ticket

    def poll(self, timeout_s: float = 0.0) -> None:
        pass

    def forget_all(self) -> None:
        pass


class Scene:
    """An assembler, its pool of one worker, and its files."""

    def __init__(self, folder: Path) -> None:
        self.worker = HandWorker()
        self.pool = WorkerPool(
            WorkerSpec(IngestAttachments().decode, Options()),
            1,
            message_timeout_s=60.0,
            on_failure=lambda error: None,
            start_worker=lambda *_: self.worker,
        )
        self.share = self.pool.share()
        self.pool.start()
        self.worker.boot()
        self.pool.poll()
        self.letters = Letters()
        self.folder = folder
        self.files = AssemblyFiles(folder)
        self.holding = Holding(self.share, hold_at_most_s=600.0, keeps_dead_letters=True)
        self.assembler = Assembler(
            self.share,
            self.letters,
            self.files,
            Assemblies(1_000_000, 3_600_000),
            self.holding,
            max_sending_bytes=10_000,
        )

    def read(self, first: int, *values: bytes, index: int = 0) -> Task:
        """Give the worker a chunk of these messages."""
        records = [
            Record(first + number, 1000, b"key", value, (("h", b"1"),))
            for number, value in enumerate(values)
        ]
        self.share.submit(Work(Chunk(partition(index), records, sum(map(len, values)))))
        return self.worker.tasks[-1]

    def park(self, task: Task, *parked: Parked) -> None:
        """The worker puts messages on disk, as they are, and says so."""
        for each in parked:
            value = task.values[each.number]
            assert value is not None
            self.files.store((task.partition, task.offsets[each.number]), value, value)
        self.receipts(Receipts(task.task_id, parked=list(parked)))

    def receipts(self, receipts: Receipts) -> None:
        self.worker.receipts(receipts)
        self.poll()

    def poll(self) -> None:
        self.pool.poll()
        self.assembler.poll(may_send=True)
        self.holding.poll()

    def has_another_attempt(self) -> bool:
        self.poll()
        return len(self.worker.tasks) == 3

    @property
    def committable(self) -> int:
        self.share.open_offsets.passed(partition(), 100)
        return self.share.open_offsets.commit_of(partition(), 100, "")[0]

    @property
    def stored(self) -> set[str]:
        return {each.name for each in self.folder.iterdir()}


def fragment(number: int, index: int, length: int = 5) -> ParkedFragment:
    return ParkedFragment(number, 4096, BLOB, index, 0, length)


def whole(number: int, fragments: int = 2) -> ParkedWhole:
    return ParkedWhole(number, 4096, [(BLOB, fragments)])


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_whole_is_sent_with_its_pieces_and_all_are_settled_with_it(scene: Scene) -> None:
    task = scene.read(10, b"first", b"other", b"event", b"again")
    scene.receipts(Receipts(task.task_id, filtered=[(1, "x"), (3, "x")]))
    scene.park(task, fragment(0, 1), whole(2))
    assert (len(scene.worker.tasks), scene.committable) == (1, 10)
    assert not scene.assembler.is_busy
    later = scene.read(14, b"last!")
    scene.park(later, fragment(0, 0))
    assert scene.assembler.is_busy
    sent = scene.worker.tasks[-1]
    assert (sent.offsets, sent.values) == ([12], [b"event"])
    assert sent.pieces == {BLOB: [Piece((0, 14), 0, 5), Piece((0, 10), 0, 5)]}
    assert scene.committable == 10
    scene.worker.shared.receipts[sent.region] = 1
    scene.worker.shared.announce()
    scene.poll()
    assert scene.committable == 100
    assert scene.pool.outcomes.delivered == 3
    assert scene.stored == set()
    assert scene.assembler.is_empty


def test_pieces_are_settled_by_no_commit_before_one_that_settles_their_whole(scene: Scene) -> None:
    pieces = scene.read(10, b"first", b"last!")
    event = scene.read(5, b"event", index=1)
    scene.park(pieces, fragment(0, 0), fragment(1, 1))
    scene.park(event, whole(0))
    sent = scene.worker.tasks[-1]
    scene.worker.shared.receipts[sent.region] = 1
    scene.worker.shared.announce()
    scene.poll()
    assert scene.assembler.is_empty
    # Delivered; but read again, the event would be sent without what is not.
    assert scene.committable == 10
    scene.share.open_offsets.passed(partition(1), 6)
    assert scene.committable == 100


def test_a_rejected_whole_goes_to_the_dead_letters_with_its_parts(scene: Scene) -> None:
    task = scene.read(10, b"first", b"last!", b"event")
    scene.park(task, fragment(0, 0), fragment(1, 1), whole(2))
    sent = scene.worker.tasks[-1]
    scene.receipts(Receipts(sent.task_id, rejected=[(0, "http_413", "too large")]))
    assert scene.assembler.is_busy
    assert not scene.assembler.has_room
    found = [(each.record, each.reason, each.detail) for each, _ in scene.letters.letters]
    expected = [(12, b"event"), (10, b"first"), (11, b"last!")]
    assert found == [
        (Record(offset, 1000, b"key", value, (("h", b"1"),)), "http_413", "too large")
        for offset, value in expected
    ]
    assert scene.pool.outcomes.rejected == {"http_413": 3}
    assert scene.committable == 10
    for _, ticket in scene.letters.letters:
        ticket.kept = True
    scene.poll()
    assert scene.committable == 100
    assert scene.assembler.is_empty
    assert scene.stored == set()


def test_dead_letters_that_were_abandoned_are_produced_again(scene: Scene) -> None:
    task = scene.read(10, b"event")
    scene.park(task, whole(0))
    scene.assembler.finish_all()
    scene.poll()
    scene.receipts(Receipts(scene.worker.tasks[-1].task_id, rejected=[(0, "http_400", "no")]))
    scene.assembler.abandon()
    scene.poll()
    assert [each.record.offset for each, _ in scene.letters.letters] == [10, 10]
    scene.letters.letters[0][1].kept = True
    scene.poll()
    assert scene.committable == 10
    scene.letters.letters[1][1].kept = True
    scene.poll()
    assert scene.committable == 100


def test_an_orphan_is_filtered_when_its_time_is_up(scene: Scene) -> None:
    task = scene.read(10, b"first")
    scene.park(task, fragment(0, 0))
    scene.assembler.expire(None)
    scene.assembler.expire(1000 + 3_600_000 - 1)
    scene.poll()
    assert scene.committable == 10
    scene.assembler.expire(1000 + 3_600_000)
    scene.poll()
    assert scene.committable == 100
    assert scene.pool.outcomes.filtered == {"orphan_chunk": 1}
    assert scene.stored == set()


def test_few_bytes_are_sent_at_a_time_and_a_large_envelope_alone(scene: Scene) -> None:
    task = scene.read(10, *[b"x" * 10] * 6)
    blobs = [b"a", b"b", b"c"]
    lengths = [6_000, 50_000, 1_000]
    parked: list[Parked] = [
        ParkedFragment(number, 4096, blob, 0, 0, lengths[number])
        for number, blob in enumerate(blobs)
    ]
    parked += [ParkedWhole(3 + n, 4096, [(blob, 1)]) for n, blob in enumerate(blobs)]
    scene.park(task, *parked)
    for expected in (13, 14, 15):
        sent = scene.worker.tasks[-1]
        assert sent.offsets == [expected]
        scene.receipts(Receipts(sent.task_id, filtered=[(0, "x")]))
    assert scene.assembler.is_empty


def test_what_is_abandoned_is_sent_again(scene: Scene) -> None:
    task = scene.read(10, b"first", b"last!", b"event")
    scene.park(task, fragment(0, 0), fragment(1, 1), whole(2))
    scene.assembler.abandon()
    assert not scene.assembler.is_busy
    assert scene.committable == 10
    scene.poll()
    first, again = scene.worker.tasks[-2:]
    assert (first.offsets, again.offsets, again.pieces) == ([12], [12], first.pieces)


def test_messages_of_a_partition_that_has_moved_are_forgotten_with_their_files(
    scene: Scene,
) -> None:
    task = scene.read(10, b"first", b"last!", b"event")
    scene.park(task, fragment(0, 0), whole(2))
    scene.share.open_offsets.forget_from(partition(), 11)
    assert scene.stored == {"0-10"}
    scene.share.open_offsets.forget([partition()])
    assert scene.stored == set()
    assert scene.assembler.is_empty


HELD = Held("limited", "upstream", "429")


def hold(scene: Scene) -> Task:
    """A whole with two parts that its destination limits; returns the task of its next attempt."""
    task = scene.read(10, b"first", b"last!", b"event")
    scene.park(task, fragment(0, 0), fragment(1, 1), whole(2))
    sent = scene.worker.tasks[-1]
    scene.receipts(Receipts(sent.task_id, held=[(0, HELD.packed())]))
    assert not scene.assembler.is_busy
    assert scene.stored == {"0-10", "0-11", "0-12"}
    assert scene.committable == 10
    wait_until(scene.has_another_attempt, timeout_s=10, what="the next attempt")
    again = scene.worker.tasks[-1]
    assert (again.offsets, again.pieces) == ([12], sent.pieces)
    return again


def test_a_held_whole_keeps_its_parts_until_it_is_delivered(scene: Scene) -> None:
    again = hold(scene)
    scene.worker.shared.receipts[again.region] = 1
    scene.worker.shared.announce()
    scene.poll()
    assert scene.committable == 100
    assert scene.pool.outcomes.delivered == 3
    assert scene.stored == set()
    assert scene.assembler.is_empty
    assert scene.holding.is_empty


def test_the_parts_of_a_held_whole_become_dead_letters_with_it(scene: Scene) -> None:
    again = hold(scene)
    scene.receipts(Receipts(again.task_id, rejected=[(0, "http_413", "too large")]))
    scene.poll()
    assert [each.record.offset for each, _ in scene.letters.letters] == [10, 11]
    for _, ticket in scene.letters.letters:
        ticket.kept = True
    scene.poll()
    assert scene.committable == 12, "its own is stored where it is held"
    for entry, letter in scene.holding.take_letters():
        assert (letter.record.value, letter.reason) == (b"event", "http_413")
        scene.holding.stored(entry)
    assert scene.committable == 100
    assert scene.stored == set()
    assert scene.assembler.is_empty


def test_a_held_whole_of_a_partition_that_has_moved_is_forgotten(scene: Scene) -> None:
    hold(scene)
    scene.share.open_offsets.forget([partition()])
    assert scene.holding.is_empty
    assert scene.assembler.is_empty
    assert scene.stored == set()


def test_an_abandoned_step_leaves_a_held_whole_where_it_is(scene: Scene) -> None:
    again = hold(scene)
    scene.assembler.abandon()
    scene.poll()
    assert len(scene.worker.tasks) == 3, "it is not sent twice"
    scene.worker.shared.receipts[again.region] = 1
    scene.worker.shared.announce()
    scene.poll()
    assert scene.assembler.is_empty


def test_nothing_is_sent_at_a_stop(scene: Scene) -> None:
    task = scene.read(10, b"event")
    scene.park(task, whole(0))
    scene.assembler.finish_all()
    scene.assembler.poll(may_send=False)
    assert not scene.assembler.is_busy
    assert len(scene.worker.tasks) == 1
