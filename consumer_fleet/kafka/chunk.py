"""The unit of work in the parent: raw messages of one partition, in offset order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias, overload

import structlog
from arroyo.types import BrokerValue, Partition, Topic
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, TopicPartition
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.dead_letter_headers import Facts, Headers

__all__ = ["Chunk", "DeadLetter", "Headers", "Pair", "Record", "cut_records", "split_into_chunks"]

log = structlog.get_logger(__name__)

CHUNK_MESSAGES = 500
CHUNK_BYTES = 1024 * 1024
#: The name of a header whose own name is not UTF-8: the client library does not give its bytes.
UNREADABLE_NAME: Final = "\N{REPLACEMENT CHARACTER}"


def as_partition(target: TopicPartition) -> Partition:
    return Partition(Topic(target.topic), target.partition)


def name_of(partition: Partition) -> str:
    """``topic/partition``, as people read it everywhere."""
    return f"{partition.topic.name}/{partition.index}"


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
        # Positional: keywords take half as long again, and this runs for each message.
        return cls(
            message.offset() or 0,
            None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp_ms,
            message.key(),
            message.value(),
            _headers_of(message),
        )

    @property
    def size(self) -> int:
        """Payload bytes: key and value, without Kafka's own overhead."""
        return len(self.value or b"") + len(self.key or b"")


#: A partition's index, and a message of it.
Pair: TypeAlias = tuple[int, Record]


def _headers_of(message: KafkaMessage) -> Headers:
    try:
        headers = message.headers()
    except SystemError:  # confluent-kafka's answer to a name that is not UTF-8
        return _readable_headers(message)
    return () if not headers else tuple(headers.items() if isinstance(headers, dict) else headers)


def _readable_headers(message: KafkaMessage) -> Headers:
    """Every header's value in order, and each name that is UTF-8."""
    _warn_of_header_name(message.topic() or "", message.partition() or 0, message.offset() or 0)
    # The second call returns what the first has converted: in place of such a name, a tuple holds
    # C's null pointer, which may be printed or sliced off, but reading it would crash the process.
    headers: Any = message.headers()
    return tuple(
        (UNREADABLE_NAME, *each[1:]) if repr(each).startswith("(<NULL>") else each
        for each in headers or ()
    )


_warned_topics: set[str] = set()


def _warn_of_header_name(topic: str, partition: int, offset: int) -> None:
    """Once per topic: where one producer does this, each of its messages may."""
    if topic not in _warned_topics:
        _warned_topics.add(topic)
        log.warning(
            "header_name_unreadable",
            topic=topic,
            partition=partition,
            offset=offset,
            what_now=f"its name is not UTF-8: it counts as {UNREADABLE_NAME!r}, with its value",
        )


class KafkaRecords(Sequence[Record]):
    """The records of messages that the client has read. A Record is made only when asked for:
    most messages need no more than their offset, timestamp and value.
    """

    def __init__(self, messages: Sequence[KafkaMessage]) -> None:
        self._messages = messages
        self._columns: Columns | None = None

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> KafkaRecords: ...
    def __getitem__(self, index: int | slice) -> Record | KafkaRecords:
        if isinstance(index, slice):
            return KafkaRecords(self._messages[index])
        return Record.from_kafka(self._messages[index])

    @property
    def columns(self) -> Columns:
        if self._columns is None:
            messages = self._messages
            stamps = [message.timestamp() for message in messages]
            self._columns = Columns(
                [message.offset() or 0 for message in messages],
                [None if kind == TIMESTAMP_NOT_AVAILABLE else at for kind, at in stamps],
                [message.value() for message in messages],
            )
        return self._columns


class Columns(NamedTuple):
    """The parts of messages that a worker needs, by column."""

    offsets: Sequence[int]
    timestamps_ms: Sequence[int | None]
    values: Sequence[bytes | None]

    def chosen(self, numbers: Sequence[int]) -> Columns:
        """The columns of the messages with these indexes."""
        return Columns(
            [self.offsets[number] for number in numbers],
            [self.timestamps_ms[number] for number in numbers],
            [self.values[number] for number in numbers],
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """Messages of one partition. ``size`` is the sum of their payload bytes; never empty."""

    partition: Partition
    records: Sequence[Record]
    size: int

    @property
    def columns(self) -> Columns:
        if isinstance(self.records, KafkaRecords):
            return self.records.columns
        return Columns(
            [record.offset for record in self.records],
            [record.timestamp_ms for record in self.records],
            [record.value for record in self.records],
        )

    def offset_of(self, index: int) -> int:
        """The offset of one message."""
        if isinstance(self.records, KafkaRecords):
            return self.records.columns.offsets[index]
        return self.records[index].offset

    @property
    def next_offset(self) -> int:
        return self.offset_of(-1) + 1

    @property
    def timestamp_ms(self) -> int | None:
        """The first message's broker timestamp."""
        if isinstance(self.records, KafkaRecords):
            return self.records.columns.timestamps_ms[0]
        return self.records[0].timestamp_ms

    @property
    def timestamp(self) -> datetime:
        """The first message's broker timestamp, which latency is measured from. 1970 if it has
        none, or one that no calendar has: a producer may count in nanoseconds.
        """
        try:
            return datetime.fromtimestamp((self.timestamp_ms or 0) / 1000, tz=UTC)
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
    #: When it is worth another attempt, in milliseconds since 1970; None if nothing says so.
    due_ms: int | None = None

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
            due_ms=self.due_ms,
        )


def split_into_chunks(
    messages: Sequence[KafkaMessage],
    *,
    max_messages: int = CHUNK_MESSAGES,
    max_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Group messages by partition, in order, and cut each group by count and by bytes."""
    groups: dict[tuple[str, int], list[KafkaMessage]] = {}
    indexes = [message.partition() for message in messages]
    topics = {message.topic() for message in messages}
    if len(topics) == 1 and indexes.count(indexes[0]) == len(indexes):  # as in a backlog
        groups[topics.pop() or "", indexes[0] or 0] = list(messages)
    else:
        for message in messages:
            name = (message.topic() or "", message.partition() or 0)
            groups.setdefault(name, []).append(message)
    for (topic, index), group in groups.items():
        partition = Partition(Topic(topic), index)
        sizes = [len(each.value() or b"") + len(each.key() or b"") for each in group]
        for start, end, size in _cuts(sizes, max_messages, max_bytes):
            yield Chunk(partition, KafkaRecords(group[start:end]), size)


def cut_records(partition: Partition, records: Sequence[Record]) -> Iterator[Chunk]:
    """Cut one partition's records by count and by bytes."""
    sizes = [record.size for record in records]
    for start, end, size in _cuts(sizes, CHUNK_MESSAGES, CHUNK_BYTES):
        yield Chunk(partition, tuple(records[start:end]), size)


def _cuts(
    sizes: Sequence[int], max_messages: int, max_bytes: int
) -> Iterator[tuple[int, int, int]]:
    """Where chunks begin and end, and their bytes.

    A single message larger than ``max_bytes`` becomes a chunk of its own.
    """
    start = total = 0
    if len(sizes) <= max_messages and (whole := sum(sizes)) <= max_bytes:  # nearly always
        yield 0, len(sizes), whole
        return
    for end, size in enumerate(sizes):
        full = end - start >= max_messages or total + size > max_bytes
        if full and end > start:
            yield start, end, total
            start, total = end, 0
        total += size
    yield start, len(sizes), total
