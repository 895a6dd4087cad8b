"""A Kafka broker inside this process: librdkafka's mock cluster, for demonstrations and tests.

It speaks the protocol of producers, consumers and classic consumer groups over loopback, so other
processes can use it too. It keeps everything in memory until ``close``. Differences from a real
broker (librdkafka 2.16, ``src/rdkafka_mock*.c``):

- Every topic has 4 partitions and is created when it is first named; there is no setting.
- Creating or deleting topics and reading settings (CreateTopics, DescribeConfigs, DescribeCluster)
  time out: there is no controller. Only its metadata tells whether a topic exists.
- The first member of a group waits 3 s; one that joins again waits for a session timeout.
- A partition drops its oldest messages above 5 MiB or 100,000 message sets.
- Log timestamps can't be searched; there are no KIP-848 assignors, ACLs or retention.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumer_fleet.errors import FleetError, KafkaUnreachable
from consumer_fleet.kafka.clients import rdkafka_log

PARTITIONS = 4
PARTITION_BYTES = 5 * 1024 * 1024
PARTITION_MESSAGES = 100_000
# More than a record's own framing and, where it is alone in it, its batch's.
_OVERHEAD_BYTES = 100
_HEADER_OVERHEAD_BYTES = 10
_TIMEOUT_S = 10.0


class MockClusterFull(FleetError):
    """The messages do not fit: the mock cluster would drop the oldest."""


@dataclass(frozen=True, slots=True)
class MockMessage:
    """A message to produce. Without a ``partition`` the key decides, or else round robin."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None
    partition: int | None = None

    @property
    def size_bytes(self) -> int:
        """An upper bound of its size in its partition."""
        headers = sum(
            len(name.encode()) + len(value or b"") + _HEADER_OVERHEAD_BYTES
            for name, value in self.headers
        )
        return len(self.value or b"") + len(self.key or b"") + headers + _OVERHEAD_BYTES


@dataclass(slots=True)
class _Filled:
    messages: int = 0
    size_bytes: int = 0

    def has_room_for(self, size_bytes: int) -> bool:
        return (
            self.messages < PARTITION_MESSAGES and self.size_bytes + size_bytes <= PARTITION_BYTES
        )


class MockCluster:
    """One broker, alive until ``close``; a context manager. Used from one thread at a time."""

    def __init__(self) -> None:
        self._producer: Producer | None = Producer(
            {
                "test.mock.num.brokers": 1,
                "log.connection.close": False,
                "logger": rdkafka_log,
            }
        )
        self._filled: dict[tuple[str, int], _Filled] = {}
        self._turn = 0
        self._failure: KafkaError | None = None
        metadata = self._open_producer.list_topics(timeout=_TIMEOUT_S)
        self.bootstrap_servers = ",".join(
            f"{broker.host}:{broker.port}" for broker in metadata.brokers.values()
        )

    def create_topic(self, name: str) -> None:
        """Create the topic if it does not exist, with ``PARTITIONS`` partitions. Blocks briefly."""
        topic = self._open_producer.list_topics(name, timeout=_TIMEOUT_S).topics[name]
        if topic.error is not None:
            raise KafkaUnreachable(f"topic {name!r}: {topic.error.str()}")

    def produce(
        self, topic: str, messages: Iterable[MockMessage], *, may_trim: bool = False
    ) -> None:
        """Produce and block until the broker has acknowledged everything.

        Raises MockClusterFull before the message that would evict an older one; those before it
        are produced. ``may_trim`` permits evictions: for readers that have read the old ones.
        """
        producer = self._open_producer
        try:
            for message in messages:
                self._produce_one(producer, topic, message, may_trim)
        finally:
            unsent = producer.flush(_TIMEOUT_S)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise KafkaUnreachable(f"topic {topic!r}: {failure.str()}")
        if unsent:
            raise KafkaUnreachable(f"topic {topic!r}: {unsent} messages were not acknowledged")

    def close(self) -> None:
        """Stop the broker. Clients that are still connected log its absence."""
        # librdkafka ends the cluster together with the client that owns it.
        self._producer = None

    def __enter__(self) -> MockCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _open_producer(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("the mock cluster is closed")
        return self._producer

    def _produce_one(
        self, producer: Producer, topic: str, message: MockMessage, may_trim: bool
    ) -> None:
        partition = self._partition(message)
        size_bytes = message.size_bytes
        filled = self._filled.setdefault((topic, partition), _Filled())
        if not may_trim and not filled.has_room_for(size_bytes):
            raise MockClusterFull(
                f"partition {partition} of {topic!r} is full with {filled.messages} messages: the "
                f"embedded broker keeps {PARTITION_BYTES} bytes or {PARTITION_MESSAGES} messages "
                "of a partition"
            )
        filled.messages += 1
        filled.size_bytes += size_bytes
        while True:
            try:
                producer.produce(
                    topic,
                    value=message.value,
                    key=message.key,
                    partition=partition,
                    headers=list(message.headers),
                    timestamp=message.timestamp_ms or 0,  # 0 is "now" to librdkafka
                    on_delivery=self._delivered,
                )
            except BufferError:  # librdkafka's queue is full: let it send
                producer.poll(0.1)
            except KafkaException as error:
                raise KafkaUnreachable(f"topic {topic!r}: {error.args[0].str()}") from error
            else:
                return

    def _partition(self, message: MockMessage) -> int:
        if message.partition is not None:
            return message.partition
        if message.key is not None:
            return zlib.crc32(message.key) % PARTITIONS
        self._turn += 1
        return (self._turn - 1) % PARTITIONS

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = error
