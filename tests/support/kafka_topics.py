"""A Kafka cluster from outside: topics, offsets, writing, and reading to the end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from tests.support.processes import wait_until

REQUEST_TIMEOUT_S = 30
MAX_MESSAGE_BYTES = 64 << 20
# A broker's answers while it loads the groups after a start.
_COORDINATOR_STARTS = (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR)
_QUEUE_LIMIT = 50_000  # half of what librdkafka's own queue takes

Header: TypeAlias = tuple[str, bytes | None]
Setting: TypeAlias = str | int | float | bool


class KafkaTopics:
    """A cluster seen by its clients. Every method blocks until the cluster has done it."""

    replicas = 1  # of each topic

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._admin: AdminClient | None = None
        self._producer: Producer | None = None

    @property
    def admin(self) -> AdminClient:
        """An admin client that all callers share. It outlives a restart of the broker."""
        if self._admin is None:
            self._admin = AdminClient(self.client_config())
        return self._admin

    def client_config(self, **settings: Setting) -> dict[str, Setting]:
        """A librdkafka configuration for this cluster; ``_`` in a name stands for a dot."""
        config: dict[str, Setting] = {
            "bootstrap.servers": self.bootstrap_servers,
            # A restarted broker is found again at once, and its absence is not printed.
            "reconnect.backoff.max.ms": 250,
            "log_level": 0,
            # Not the default of 30 s: a client that met no leader asks again soon.
            "topic.metadata.refresh.fast.interval.ms": 100,
        }
        return config | {name.replace("_", "."): value for name, value in settings.items()}

    def forget_clients(self) -> None:
        """Discard the shared clients and what the producer has not sent."""
        self._admin = None
        self._producer = None

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, object] | None = None
    ) -> str:
        """Create the topic, wait until every partition has a leader, and return its name."""
        settings = {key: str(value) for key, value in (config or {}).items()}
        topic = NewTopic(
            name, num_partitions=partitions, replication_factor=self.replicas, config=settings
        )
        self.admin.create_topics([topic])[name].result(REQUEST_TIMEOUT_S)
        self._wait_for_leaders(name, partitions)
        return name

    def delete_topic(self, topic: str) -> None:
        """Delete the topic, and wait until no broker knows it."""
        self.admin.delete_topics([topic])[topic].result(REQUEST_TIMEOUT_S)
        wait_until(
            lambda: topic not in self.admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics,
            timeout_s=REQUEST_TIMEOUT_S,
            what=f"the deletion of {topic}",
        )

    def add_partitions(self, topic: str, total: int) -> None:
        """Grow the topic to ``total`` partitions."""
        request = NewPartitions(topic, total)
        self.admin.create_partitions([request])[topic].result(REQUEST_TIMEOUT_S)
        self._wait_for_leaders(topic, total)

    def set_topic_config(self, topic: str, name: str, value: Setting) -> None:
        """Change one setting of the topic."""
        entry = ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(REQUEST_TIMEOUT_S)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the messages before these offsets (by partition), as retention would."""
        places = [TopicPartition(topic, *each) for each in before.items()]
        for future in self.admin.delete_records(places).values():
            future.result(REQUEST_TIMEOUT_S)

    def partitions(self, topic: str) -> list[int]:
        return sorted(self.admin.list_topics(topic, REQUEST_TIMEOUT_S).topics[topic].partitions)

    def start_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the oldest offset that is still there."""
        return self._offsets(topic, newest=False)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """By partition: the offset that the next message will get."""
        return self._offsets(topic, newest=True)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """By partition: the group's committed offset. A partition without one is absent."""
        # Not the admin client's request: while the coordinator still loads its groups, the answer
        # crashes the process with a segmentation fault (confluent-kafka 2.16).
        client = Consumer(self.client_config(group_id=group, enable_auto_commit=False))
        try:
            places = [TopicPartition(topic, index) for index in self.partitions(topic)]
            found: list[TopicPartition] = []

            def answered() -> bool:
                try:
                    found[:] = client.committed(places, timeout=REQUEST_TIMEOUT_S)
                except KafkaException as error:
                    if error.args[0].code() in _COORDINATOR_STARTS:
                        return False
                    raise
                return True

            wait_until(answered, timeout_s=REQUEST_TIMEOUT_S, what=f"the coordinator of {group}")
        finally:
            client.close()
        return {each.partition: each.offset for each in found if each.offset >= 0}

    def produce(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        partition: int = -1,
        timestamp_ms: int = 0,
    ) -> list[tuple[int, int]]:
        """Write the values in order; returns the (partition, offset) of each.

        ``partition`` -1 leaves the choice to the producer; ``timestamp_ms`` 0 means now.
        """
        producer = self._shared_producer()
        reports: list[_Report] = []
        for value in values:
            report = _Report()
            reports.append(report)
            if len(producer) >= _QUEUE_LIMIT:
                producer.flush(REQUEST_TIMEOUT_S)
            producer.produce(
                topic,
                value,
                key,
                partition,
                on_delivery=report,
                timestamp=timestamp_ms,
                headers=list(headers),
            )
            producer.poll(0)
        producer.flush(REQUEST_TIMEOUT_S)
        return [report.place() for report in reports]

    def transaction(self, topic: str, count: int, *, partition: int = 0) -> Transaction:
        """An open transaction with ``count`` messages in the partition."""
        return Transaction(self, topic, count, partition)

    def read(self, topic: str, *, committed_only: bool = True) -> list[Message]:
        """Return everything that the topic holds now, sorted by partition and offset."""
        consumer = Consumer(
            self.client_config(
                group_id=f"read-{uuid.uuid4()}",
                enable_auto_commit=False,
                enable_partition_eof=True,
                isolation_level="read_committed" if committed_only else "read_uncommitted",
            )
        )
        remaining = set(self.partitions(topic))
        starts = self.start_offsets(topic)
        found: list[Message] = []

        def reached_end() -> bool:
            for message in consumer.consume(1000, timeout=0.2):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    remaining.discard(message.partition())
                else:
                    raise KafkaException(error)
            return not remaining

        try:
            consumer.assign([TopicPartition(topic, p, starts[p]) for p in remaining])
            wait_until(reached_end, timeout_s=REQUEST_TIMEOUT_S, what=f"the end of {topic}")
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def _shared_producer(self) -> Producer:
        if self._producer is None:
            # Idempotent: a retry after a late answer writes nothing twice.
            self._producer = Producer(
                self.client_config(
                    enable_idempotence=True, message_max_bytes=MAX_MESSAGE_BYTES, linger_ms=5
                )
            )
        return self._producer

    def _offsets(self, topic: str, *, newest: bool) -> dict[int, int]:
        which = OffsetSpec.latest if newest else OffsetSpec.earliest
        spec = which()  # type: ignore[no-untyped-call]  # unannotated in the library
        request = {TopicPartition(topic, each): spec for each in self.partitions(topic)}
        futures = self.admin.list_offsets(request, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        return {
            place.partition: future.result(REQUEST_TIMEOUT_S).offset
            for place, future in futures.items()
        }

    def _wait_for_leaders(self, topic: str, partitions: int) -> None:
        def have_leaders() -> bool:
            known = self.admin.list_topics(topic, REQUEST_TIMEOUT_S).topics[topic].partitions
            if len(known) != partitions or any(each.leader < 0 for each in known.values()):
                return False
            # A broker names itself as leader a moment before it acts as one.
            try:
                self.start_offsets(topic)
            except KafkaException:
                return False
            return True

        wait_until(have_leaders, timeout_s=REQUEST_TIMEOUT_S, what=f"the leaders of {topic}")


class Transaction:
    """Flushed messages of a transactional producer. Nothing else may write to the partition."""

    def __init__(self, kafka: KafkaTopics, topic: str, count: int, partition: int) -> None:
        self._kafka = kafka
        self._topic = topic
        self._partition = partition
        self._end = kafka.end_offsets(topic)[partition]
        self._producer = Producer(kafka.client_config(transactional_id=f"tx-{uuid.uuid4()}"))
        self._producer.init_transactions(REQUEST_TIMEOUT_S)
        self._producer.begin_transaction()
        for _ in range(count):
            self._producer.produce(topic, b"x", partition=partition)
        self._producer.flush(REQUEST_TIMEOUT_S)  # an abort drops what was not sent yet
        self._wait_for(count)

    def commit(self) -> None:
        self._producer.commit_transaction(REQUEST_TIMEOUT_S)
        self._wait_for(1)

    def abort(self) -> None:
        self._producer.abort_transaction(REQUEST_TIMEOUT_S)
        self._wait_for(1)

    def _wait_for(self, more: int) -> None:
        # The coordinator answers a commit before it writes the partition's control record.
        self._end += more
        wait_until(
            lambda: self._kafka.end_offsets(self._topic)[self._partition] == self._end,
            timeout_s=REQUEST_TIMEOUT_S,
            what=f"offset {self._end} of {self._topic}/{self._partition}",
        )


class _Report:
    """One message's delivery report."""

    def __init__(self) -> None:
        self._place: tuple[int, int] | None = None
        self._error: KafkaError | None = None

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._error = error
        if error is None:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            self._place = (partition, offset)

    def place(self) -> tuple[int, int]:
        if self._error is not None:
            raise KafkaException(self._error)
        if self._place is None:
            raise TimeoutError(f"a message was not acknowledged within {REQUEST_TIMEOUT_S} s")
        return self._place
