"""The unit of work in the parent: raw messages of one partition, in offset order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from arroyo.types import BrokerValue, Partition, Topic
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.dead_letter_headers import Facts, Headers

__all__ = ["Chunk", "DeadLetter", "Headers", "Record", "cut_records", "split_into_chunks"]

CHUNK_MESSAGES = 500
CHUNK_BYTES = 1024 * 1024


class Record(NamedTuple):
    """One message, untouched. A tombstone's ``value`` is None, which is not the same as empty."""

    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def from_kafka(cls, message: KafkaMessage) -> Record:
        kind, timestamp_ms = message.timestamp()
        headers = message.headers()
        # Positional: keywords take half as long again, and this runs for each message.
        return cls(
            message.offset() or 0,
            None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
            message.key(),
            message.value(),
            () if not headers else tuple(headers.items() if isinstance(headers, dict) else headers),
        )

    @property
    def size(self) -> int:
        """Payload bytes: key and value, without Kafka's own overhead."""
        return len(self.value or b"") + len(self.key or b"")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition. ``size`` is the sum of their payload bytes; never empty."""

    partition: Partition
    records: tuple[Record, ...]
    size: int

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1

    @property
    def timestamp(self) -> datetime:
        """The first message's broker timestamp, which latency is measured from. 1970 if it has
        none, or one that no calendar has: a producer may count in nanoseconds.
        """
        try:
            return datetime.fromtimestamp((self.records[0].timestamp_ms or 0) / 1000, tz=UTC)
        except (ValueError, OverflowError):
            return datetime.fromtimestamp(0, tz=UTC)

    def as_broker_value(self) -> BrokerValue[Chunk]:
        """Arroyo commits ``offset + 1`` of a value, hence the last message's offset."""
        return BrokerValue(self, self.partition, self.next_offset - 1, self.timestamp)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected message, complete, and why it was rejected."""

    record: Record
    reason: str
    detail: str

    def facts(self, partition: Partition, group: str) -> Facts:
        """The facts for its headers; ``partition`` is where the record was read."""
        return Facts(
            reason=self.reason,
            detail=self.detail,
            topic=partition.topic.name,
            partition=partition.index,
            offset=self.record.offset,
            timestamp_ms=self.record.timestamp_ms,
            group=group,
        )


def split_into_chunks(
    messages: Sequence[KafkaMessage],
    *,
    max_messages: int = CHUNK_MESSAGES,
    max_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Group messages by partition, in order, and cut each group by count and by bytes."""
    groups: dict[tuple[str, int], list[Record]] = {}
    for message in messages:
        key = (message.topic() or "", message.partition() or 0)
        groups.setdefault(key, []).append(Record.from_kafka(message))
    for (topic, index), records in groups.items():
        partition = Partition(Topic(topic), index)
        yield from cut_records(partition, records, max_messages=max_messages, max_bytes=max_bytes)


def cut_records(
    partition: Partition,
    records: Sequence[Record],
    *,
    max_messages: int = CHUNK_MESSAGES,
    max_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Cut one partition's records by count and by bytes.

    A single message larger than ``max_bytes`` becomes a chunk of its own.
    """
    start = size = 0
    for end, record in enumerate(records):
        full = end - start >= max_messages or size + record.size > max_bytes
        if full and end > start:
            yield Chunk(partition, tuple(records[start:end]), size)
            start, size = end, 0
        size += record.size
    yield Chunk(partition, tuple(records[start:]), size)
