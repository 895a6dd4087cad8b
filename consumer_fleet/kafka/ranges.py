"""Reads ranges of offsets of any partitions, of several topics at once, without joining a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.clients import make_client, unjoined_config
from consumer_fleet.kafka.groups import Spot
from consumer_fleet.kafka.reader import Range

_WAIT_S = 0.02
_BATCH = 1000
# Enough for one message of each partition: a broker sends a first batch of any size.
_PEEK_BYTES = 64 * 1024


class RangeReader:
    """Reads each range once, in offset order by partition. A context manager; one thread."""

    def __init__(
        self,
        base_config: Mapping[str, Any],
        ranges: Mapping[Spot, Range],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """``settings`` are librdkafka's, on top. Raises ConfigurationError for a wrong one."""
        config = {**unjoined_config(base_config), **(settings or {})}
        self._client = make_client(Consumer, config)
        self._ranges = ranges
        #: What is still to be read.
        self.open = {spot for spot, span in ranges.items() if span.size}
        #: What ended before its end: Kafka does not let it be read, or not yet, or it is gone.
        self.unread: set[Spot] = set()
        self._client.assign([TopicPartition(*spot, ranges[spot].start) for spot in self.open])

    def read(self) -> list[KafkaMessage]:
        """The next messages, none if none came within a moment. A range also ends, and is
        ``unread``, where Kafka says that nothing more is readable, or that its place is gone.

        Raises KafkaUnreachable where the client has failed for good.
        """
        taken = []
        for message in self._client.consume(_BATCH, _WAIT_S):
            spot = (message.topic() or "", message.partition() or 0)
            error, offset = message.error(), message.offset() or 0
            if error is not None:
                if error.fatal():
                    raise KafkaUnreachable(f"topic {spot[0]!r}: {error.str()}")
                if spot in self.open and error.code() in _ENDS:
                    # An end before the range's is that of what is committed: a transaction is open.
                    at_end = error.code() == KafkaError._PARTITION_EOF
                    if not at_end or offset < self._ranges[spot].end:
                        self.unread.add(spot)
                    self.finish(spot)
                continue
            if spot not in self.open:
                continue
            end = self._ranges[spot].end
            if offset < end:
                taken.append(message)
            if offset >= end - 1:
                self.finish(spot)
        return taken

    def finish(self, spot: Spot) -> None:
        """Read no more of a partition."""
        self.open.discard(spot)
        self._client.incremental_unassign([TopicPartition(*spot)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


_ENDS = (
    KafkaError._PARTITION_EOF,
    KafkaError.OFFSET_OUT_OF_RANGE,
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)


@dataclass(frozen=True, slots=True)
class Oldest:
    """The first message at or after a place. ``mean_bytes`` is the mean size of it and those that
    came with it.
    """

    offset: int
    timestamp_ms: int | None
    mean_bytes: float


def oldest_messages(
    base_config: Mapping[str, Any], ranges: Iterable[tuple[Spot, Range]], timeout_s: float
) -> list[Oldest | None]:
    """The first readable message of each range, in the order given; None where there is none, or
    where it did not arrive within ``timeout_s``. A partition may be named more than once.
    """
    wanted = list(ranges)
    found: list[Oldest | None] = [None] * len(wanted)
    # A client reads a partition from one place: whoever stands elsewhere in it gets a client more.
    rounds: list[dict[Spot, int]] = []
    for number, (spot, _) in enumerate(wanted):
        free = next((each for each in rounds if spot not in each), None)
        if free is None:
            rounds.append(free := {})
        free[spot] = number
    deadline = monotonic() + timeout_s
    for members in rounds:
        firsts = _first_of_each(
            base_config, {spot: wanted[number][1] for spot, number in members.items()}, deadline
        )
        for spot, oldest in firsts.items():
            found[members[spot]] = oldest
    return found


def _first_of_each(
    base_config: Mapping[str, Any], ranges: Mapping[Spot, Range], deadline: float
) -> dict[Spot, Oldest]:
    settings = {
        "fetch.message.max.bytes": _PEEK_BYTES,
        "queued.max.messages.kbytes": 1024,
        "fetch.wait.max.ms": 100,
    }
    found: dict[Spot, Oldest] = {}
    with RangeReader(base_config, ranges, settings) as reader:
        while reader.open and monotonic() < deadline:
            arrived: dict[Spot, list[Record]] = defaultdict(list)
            for message in reader.read():
                record = Record.from_kafka(message)
                arrived[message.topic() or "", message.partition() or 0].append(record)
            for spot, records in arrived.items():
                mean = sum(record.size for record in records) / len(records)
                found[spot] = Oldest(records[0].offset, records[0].timestamp_ms, mean)
                if spot in reader.open:
                    reader.finish(spot)
    return found
