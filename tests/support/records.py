"""Generated Kafka messages."""

from __future__ import annotations

from arroyo.types import BrokerValue, Message, Partition, Topic

from consumer_fleet.kafka.chunk import Chunk, Record

TOPIC = Topic("events")


def partition(index: int = 0) -> Partition:
    return Partition(TOPIC, index)


def record(offset: int, value: bytes | None = b"value") -> Record:
    return Record(offset, 1_700_000_000_000 + offset, b"key", value, (("h", b"1"), ("h", None)))


def chunk(first: int, count: int, index: int = 0, value: bytes = b"value") -> Chunk:
    records = tuple(record(offset, value) for offset in range(first, first + count))
    return Chunk(partition(index), records, sum(each.size for each in records))


def message(of: Chunk) -> Message[Chunk]:
    value: BrokerValue[Chunk] = of.as_broker_value()
    return Message(value)
