"""Where messages come from: an iterator's chunks as arroyo's loop gets them; a group's lag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

import pytest
from arroyo.types import Partition, Topic

from consumer_fleet.errors import FleetError, RecordingError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.run.sources import GroupSource, Hooks, Length, LocalChunkConsumer
from tests.support.records import record

TOPIC = Topic("t")


def chunk(partition: int, *offsets: int) -> Chunk:
    records = tuple(record(offset) for offset in offsets)
    return Chunk(Partition(TOPIC, partition), records, sum(each.size for each in records))


class Reading:
    """A consumer over these chunks, and what it did."""

    def __init__(self, chunks: Iterator[Chunk | None], partitions: int = 4) -> None:
        self.failures: list[FleetError] = []
        self.waits: list[float] = []
        self.polls = 0
        self.assigned: list[Mapping[Partition, int]] = []
        self.revoked: list[Sequence[Partition]] = []
        hooks = Hooks(self._polled, self.failures.append, lambda: None, self.waits.append)
        self.consumer = LocalChunkConsumer(TOPIC, partitions, chunks, hooks)
        self.consumer.subscribe([TOPIC], self.assigned.append, self.revoked.append)

    def _polled(self) -> None:
        self.polls += 1

    def all(self) -> list[Chunk]:
        found = []
        while not self.consumer.at_end:
            value = self.consumer.poll(0.0)
            if value is not None:
                found.append(value.payload)
        return found


def test_chunks_come_in_the_order_of_the_iterator_whatever_their_partition() -> None:
    chunks = [chunk(3, 10, 12), chunk(0, 5), chunk(3, 13), chunk(1, 99), chunk(0, 6)]
    reading = Reading(iter(chunks))
    assert reading.all() == chunks
    assert reading.consumer.given == 6
    assert reading.failures == []


def test_a_chunk_is_read_only_when_the_one_before_was_taken() -> None:
    read: list[int] = []

    def chunks() -> Iterator[Chunk]:
        for number in range(3):
            read.append(number)
            yield chunk(number, number)

    reading = Reading(chunks())
    assert read == []
    for expected in ([0], [0, 1], [0, 1, 2]):
        assert reading.consumer.poll(0.0) is not None
        assert read == expected


def test_a_paused_consumer_reads_nothing_and_goes_on_where_it_was() -> None:
    chunks = [chunk(2, 1), chunk(1, 1), chunk(2, 2)]
    reading = Reading(iter(chunks))
    first = reading.consumer.poll(0.0)
    assert first is not None
    partitions = list(reading.consumer.tell())
    reading.consumer.pause(partitions)
    assert [reading.consumer.poll(0.1) for _ in range(3)] == [None, None, None]
    assert reading.consumer.given == 1
    reading.consumer.resume(partitions)
    assert [first.payload, *reading.all()] == chunks


def test_it_waits_instead_of_spinning_where_there_is_nothing_and_never_long() -> None:
    reading = Reading(iter([None, chunk(0, 1), None, None]))
    assert [reading.consumer.poll(1.0) for _ in range(4)][1] is not None
    assert reading.waits == [0.05, 0.05, 0.05]
    assert not reading.consumer.at_end, "an iterator that has nothing now may have more"
    reading.consumer.poll(1.0)
    assert reading.consumer.at_end
    assert reading.polls == 5


def test_an_iterator_that_fails_ends_after_what_it_gave() -> None:
    def chunks() -> Iterator[Chunk]:
        yield chunk(0, 1)
        raise RecordingError("cut at byte 9")

    reading = Reading(chunks())
    assert len(reading.all()) == 1
    assert [str(failure) for failure in reading.failures] == ["cut at byte 9"]


@pytest.mark.parametrize(
    "stranger", [chunk(4, 1), Chunk(Partition(Topic("u"), 0), (record(1),), 5)]
)
def test_a_chunk_of_no_partition_of_the_topic_is_an_error_and_not_an_endless_wait(
    stranger: Chunk,
) -> None:
    reading = Reading(iter([chunk(3, 1), stranger]))
    assert len(reading.all()) == 1
    assert isinstance(reading.failures[0], RecordingError)


def test_settled_offsets_are_remembered() -> None:
    reading = Reading(iter([chunk(2, 1, 5)]))
    reading.all()
    reading.consumer.stage_offsets({Partition(TOPIC, 2): 6})
    assert reading.consumer.settled == {Partition(TOPIC, 2): 6}


def test_all_partitions_are_assigned_by_the_first_poll_and_revoked_once() -> None:
    reading = Reading(iter([chunk(2, 1)]), partitions=3)
    assert reading.assigned == []
    reading.all()
    (assigned,) = reading.assigned
    assert sorted(each.index for each in assigned) == [0, 1, 2]
    for _ in range(2):
        reading.consumer.close()
    assert [len(partitions) for partitions in reading.revoked] == [3]
    assert reading.consumer.closed


@pytest.mark.parametrize(
    ("length", "settled", "expected"),
    [
        (Length(), 3, (None, None)),
        (Length(0), 0, (0, None)),
        (Length(4), 1, (3, 0.25)),
        (Length(4), 5, (0, 1.0)),
        (Length(read=lambda: 0.5), 3, (None, 0.5)),
        (Length(read=lambda: 1.5), 3, (None, 1.0)),
    ],
)
def test_the_rest_is_known_by_count_or_by_what_is_read(
    length: Length, settled: int, expected: tuple[int | None, float | None]
) -> None:
    assert length.rest(settled) == expected


class Paused:
    """A consumer that has read up to offset 10 and knows of 5 more messages, and its cluster."""

    def __init__(self) -> None:
        self.open_offsets = OpenOffsets()
        self.held: list[Partition] = []
        self.questions = 0
        self.source = GroupSource({}, "events", "group", shared_cluster=self)  # type: ignore[arg-type]  # a stand-in for both
        self.source.consumer = self  # type: ignore[assignment]

    def ask(self, _question: object) -> Future[dict[int, int]]:
        self.questions += 1
        answer: Future[dict[int, int]] = Future()
        answer.set_result({0: 1010, 1: 12})
        return answer

    def settled(self) -> dict[Partition, int]:
        return {Partition(TOPIC, 0): 10, Partition(TOPIC, 1): 10}

    def lag(self) -> dict[Partition, int]:
        return {Partition(TOPIC, 0): 5, Partition(TOPIC, 1): 5}

    def paused(self) -> list[Partition]:
        return self.held


@pytest.mark.parametrize("is_full", [False, True])
def test_the_lag_goes_on_growing_while_reading_is_paused(is_full: bool) -> None:
    here = Paused()
    assert list(here.source.lag().values()) == [5, 5]
    assert here.questions == 0, "what is fetched says it for nothing"
    if is_full:
        here.open_offsets.full = frozenset([Partition(TOPIC, 0)])
    else:
        here.held = [Partition(TOPIC, 0), Partition(TOPIC, 1)]
    here.source.lag()
    for _ in range(10):
        assert list(here.source.lag().values()) == [1000, 5]
        assert here.source.rest(0).left == 1005
    assert here.questions == 1


def test_the_lag_is_unknown_before_partitions_are_assigned() -> None:
    here = Paused()
    here.source.consumer = None
    assert here.source.rest(0).left is None
