"""A paced replay: by timestamp over all partitions, in order within each, never early."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from consumer_fleet.errors import ConfigurationError, RecordingError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.replay.batches import paced
from tests.support.recordings import Pair


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.longest_wait_s = 0.0

    def wait(self, seconds: float) -> None:
        self.longest_wait_s = max(self.longest_wait_s, seconds)
        self.now_s += seconds


def pair(partition: int, offset: int, timestamp_ms: int | None) -> Pair:
    return partition, Record(offset, timestamp_ms, None, b"v", ())


def sent(batches: list[list[Pair]], speed: float, clock: Clock) -> list[tuple[float, Pair]]:
    found = paced(batches, speed, clock=lambda: clock.now_s, wait=clock.wait)
    return [(clock.now_s - 100, each) for batch in found for each in batch]


@pytest.mark.parametrize("speed", [1.0, 10.0, 0.5])
def test_distances_in_time_are_those_of_the_timestamps_divided_by_the_speed(speed: float) -> None:
    clock = Clock()
    batches = [[pair(0, 1, 5000), pair(0, 2, 5500)], [pair(0, 3, 9000)]]
    for (at_s, (_, record)), expected_s in zip(
        sent(batches, speed, clock), (0, 0.5, 4), strict=True
    ):
        assert at_s == pytest.approx(expected_s / speed, abs=1e-6), record.offset
    assert clock.longest_wait_s <= 0.05


def test_partitions_are_merged_by_time_however_they_were_fetched() -> None:
    far_ahead = [pair(1, n, 1000 * n) for n in range(50)]
    busy = [pair(0, n, 10 * n) for n in range(4000)]
    batches = [far_ahead, *(busy[start : start + 100] for start in range(0, 4000, 100))]
    times = [at_s for at_s, _ in sent(batches, 1, Clock())]
    order = [each for _, each in sent(batches, 1, Clock())]
    assert [record.timestamp_ms for _, record in order] == sorted(
        record.timestamp_ms or 0 for _, record in order
    )
    for at_s, (_, record) in zip(times, order, strict=True):
        assert -1e-6 <= at_s - (record.timestamp_ms or 0) / 1000 < 0.06


def test_a_partition_keeps_its_order_where_its_timestamps_go_back() -> None:
    chance = random.Random(3)
    pairs = [pair(n % 3, n, chance.randrange(500)) for n in range(300)]
    order = [each for _, each in sent([pairs], 1, Clock())]
    for index in range(3):
        offsets = [record.offset for partition, record in order if partition == index]
        assert offsets == sorted(offsets)
    assert len(order) == 300


def test_time_begins_when_the_first_message_is_sent_however_long_that_takes() -> None:
    clock = Clock()
    pairs = [pair(0, 1, 0), pair(0, 2, 400)]
    batches = paced([pairs], 1, clock=lambda: clock.now_s, wait=clock.wait)
    assert next(batches) == pairs[:1]
    clock.now_s += 5
    assert [each for batch in batches for each in batch] == pairs[1:]
    assert clock.now_s == pytest.approx(105.4)


def test_what_is_not_due_is_an_empty_batch_so_that_others_get_a_turn() -> None:
    clock = Clock()
    batches = list(
        paced([[pair(0, 1, 0), pair(0, 2, 1000)]], 1, clock=lambda: clock.now_s, wait=clock.wait)
    )
    assert batches[0] == [pair(0, 1, 0)]
    assert batches[1:-1].count([]) == len(batches) - 2 >= 19


def test_while_a_source_has_nothing_others_get_their_turns() -> None:
    clock = Clock()

    def hesitating() -> Iterator[list[Pair]]:
        yield [pair(0, 1, 0), pair(0, 2, 0)]
        while True:
            clock.now_s += 0.05
            yield []

    batches = paced(hesitating(), 1, clock=lambda: clock.now_s, wait=clock.wait)
    assert [next(batches) for _ in range(3)] == [[], [], []]
    assert clock.now_s < 100.3


def test_a_message_without_a_timestamp_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"2/77 has no timestamp .* --speed max"):
        sent([[pair(2, 77, None)]], 1, Clock())


def test_what_was_read_before_an_error_is_sent_before_it() -> None:
    def cut() -> Iterator[list[Pair]]:
        yield [pair(0, 1, 0), pair(0, 2, 300)]
        yield [pair(1, 1, 100)]
        raise RecordingError("cut")

    clock = Clock()
    batches = paced(cut(), 1, clock=lambda: clock.now_s, wait=clock.wait)
    found: list[Pair] = []
    with pytest.raises(RecordingError):
        found.extend(each for batch in batches for each in batch)
    assert [record.timestamp_ms for _, record in found] == [0, 100, 300]


def test_reading_ahead_is_bounded() -> None:
    read = 0

    def endless() -> Iterator[list[Pair]]:
        nonlocal read
        while True:
            read += 1
            assert read < 1000
            yield [(read % 4, Record(read, read, None, bytes(1 << 20), ()))]

    clock = Clock()
    batches = paced(endless(), 1e9, clock=lambda: clock.now_s, wait=clock.wait)
    for _ in range(200):
        next(batches)
    assert read > 30
