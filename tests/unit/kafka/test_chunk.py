"""Messages become chunks of one partition, in order, bounded by count and bytes."""

from __future__ import annotations

import pytest
from arroyo.types import Partition, Topic
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE

from consumer_fleet.kafka.chunk import Chunk, Columns, Record, split_into_chunks


class Polled:
    """What librdkafka hands over, as far as a chunk reads it."""

    def __init__(self, partition: int, offset: int, value: bytes | None = b"v") -> None:
        self._place = (partition, offset)
        self._value = value

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]]:
        return [("a", b"1"), ("a", None)]

    def timestamp(self) -> tuple[int, int]:
        if self._place[1] == 0:
            return (TIMESTAMP_NOT_AVAILABLE, 0)
        return (TIMESTAMP_CREATE_TIME, 5)


def split(
    messages: list[Polled], count: int = 100, size: int = 1000
) -> list[tuple[int, list[int]]]:
    chunks = split_into_chunks(messages, max_messages=count, max_bytes=size)  # type: ignore[arg-type]  # a stand-in
    return [(c.partition.index, [r.offset for r in c.records]) for c in chunks]


def test_partitions_are_kept_apart_and_in_order() -> None:
    messages = [Polled(0, 1), Polled(1, 7), Polled(0, 2), Polled(1, 9)]
    assert split(messages) == [(0, [1, 2]), (1, [7, 9])]


def test_a_chunk_is_cut_by_count() -> None:
    assert split([Polled(0, n) for n in range(5)], count=2) == [(0, [0, 1]), (0, [2, 3]), (0, [4])]


def test_a_chunk_is_cut_by_bytes_and_a_large_message_is_alone() -> None:
    sizes = [10, 10, 500, 10]
    messages = [Polled(0, n, b"x" * size) for n, size in enumerate(sizes)]
    assert split(messages, size=20) == [(0, [0, 1]), (0, [2]), (0, [3])]


def test_no_message_is_lost_or_repeated_by_cutting() -> None:
    messages = [Polled(n % 3, n, b"x" * (n % 7)) for n in range(1000)]
    chunks = split(messages, count=17, size=40)
    assert sorted(offset for _, offsets in chunks for offset in offsets) == list(range(1000))


def test_a_tombstone_an_empty_value_and_a_missing_timestamp_stay_as_they_are() -> None:
    tombstone = Record.from_kafka(Polled(0, 0, None))  # type: ignore[arg-type]  # a stand-in
    empty = Record.from_kafka(Polled(0, 1, b""))  # type: ignore[arg-type]  # a stand-in
    assert (tombstone.value, tombstone.timestamp_ms) == (None, None)
    assert (empty.value, empty.timestamp_ms) == (b"", 5)
    assert list(tombstone.headers) == [("a", b"1"), ("a", None)]


@pytest.mark.parametrize("timestamp_ms", [None, 1_700_000_000_000_000_000, 2**63 - 1, -(2**63)])
def test_a_timestamp_that_is_not_a_time_is_1970(timestamp_ms: int | None) -> None:
    chunk = Chunk(Partition(Topic("t"), 0), (Record(0, timestamp_ms, None, b"v", ()),), 1)
    assert chunk.as_broker_value().timestamp.timestamp() == 0


def test_headers_and_keys_are_read_only_where_a_record_is_asked_for() -> None:
    class Unreadable(Polled):
        def headers(self) -> list[tuple[str, bytes | None]]:
            raise SystemError("a header's name is not UTF-8")

    messages = [Unreadable(0, offset) for offset in range(3)]
    (chunk,) = split_into_chunks(messages)  # type: ignore[arg-type]  # a stand-in
    assert chunk.columns == Columns([0, 1, 2], [None, 5, 5], [b"v"] * 3)
    assert chunk.columns.chosen([2]) == Columns([2], [5], [b"v"])
    assert (chunk.next_offset, chunk.timestamp_ms, chunk.size) == (3, None, 3)
    with pytest.raises(SystemError):
        _ = chunk.records[0]
