"""Reads ranges of several topics, as far as they can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.clients import OUT_OF_RANGE, is_fatal, make_client, unjoined_config
from consumer_fleet.kafka.reader import PartitionId, Range, named
from consumer_fleet.kafka.receive_limit import ReceiveLimit

_WAIT_S = 0.02
_BATCH = 1000
_ENDS = (
    *OUT_OF_RANGE,
    KafkaError._PARTITION_EOF,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)


class RangeReader:
    """Reads each range once, in offset order by partition, and raises for none that can't be read:
    that one is ``unread``. A context manager; one thread.
    """

    def __init__(
        self,
        base_config: Mapping[str, Any],
        ranges: Mapping[PartitionId, Range],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """``settings`` are librdkafka's, on top. Raises ConfigurationError for an invalid one."""
        own = {**(settings or {}), "error_cb": self._on_client_error}
        self._limit = ReceiveLimit({**unjoined_config(base_config), **own})
        self._ranges = ranges
        #: Still to be read.
        self.open = {partition for partition, span in ranges.items() if span.size}
        #: Ended before the range's end: not readable, not readable yet, or gone.
        self.unread: set[PartitionId] = set()
        self._next = {partition: ranges[partition].start for partition in self.open}
        self._connect()

    def _connect(self) -> None:
        self._client = make_client(Consumer, self._limit.take())
        self._client.assign([TopicPartition(*each, self._next[each]) for each in self.open])

    def _on_client_error(self, error: KafkaError) -> None:
        self._limit.note(error, named({each: self._next[each] for each in self.open}))

    def read(self) -> list[KafkaMessage]:
        """The next messages, none if none arrived within a moment. A range also ends, and is
        ``unread``, where Kafka says that nothing more is readable, or that its position is gone.

        Raises KafkaUnreachable where the client has failed for good.
        """
        taken = []
        if self._limit.is_outgrown:
            self._client.close()
            self._connect()
        for message in self._client.consume(_BATCH, _WAIT_S):
            partition = partition_of(message)
            error, offset = message.error(), message.offset() or 0
            if error is not None and is_fatal(error):
                raise KafkaUnreachable(f"topic {partition[0]!r}: {error.str()}")
            if partition not in self.open:
                continue
            end = self._ranges[partition].end
            if error is not None:
                if error.code() in _ENDS:
                    # EOF before the range's end: the rest belongs to an open transaction.
                    if error.code() != KafkaError._PARTITION_EOF or offset < end:
                        self.unread.add(partition)
                    self.finish(partition)
                else:
                    self._limit.note(error, named({partition: self._next[partition]}))
                continue
            self._next[partition] = offset + 1
            if offset < end:
                taken.append(message)
            if offset >= end - 1:
                self.finish(partition)
        return taken

    def finish(self, partition: PartitionId) -> None:
        """Read no more of a partition."""
        self.open.discard(partition)
        self._client.incremental_unassign([TopicPartition(*partition)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


def partition_of(message: KafkaMessage) -> PartitionId:
    return message.topic() or "", message.partition() or 0
