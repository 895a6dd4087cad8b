"""Members of consumer groups, and the groups as Kafka's own tool shows them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, ConsumerGroupState, TopicPartition

from tests.support.kafka_broker import KafkaBroker
from tests.support.kafka_topics import KafkaTopics, Setting
from tests.support.processes import wait_until

_TOOL = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"


@contextmanager
def members(
    kafka: KafkaTopics, group: str, topic: str, count: int = 1, **settings: Setting
) -> Iterator[list[Consumer]]:
    """Run ``count`` members that have joined and share the topic. They poll and never commit."""
    config = kafka.client_config(
        group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", **settings
    )
    clients = [Consumer(config) for _ in range(count)]
    stop = threading.Event()

    def poll() -> None:
        # Only a member that polls takes part in a rebalance.
        while not stop.is_set():
            for client in clients:
                client.consume(10, 0.05)

    def all_joined() -> bool:
        described = kafka.admin.describe_consumer_groups([group])[group].result(10)
        assigned = sum(len(each.assignment.topic_partitions) for each in described.members)
        return (
            described.state == ConsumerGroupState.STABLE
            and len(described.members) == count
            and assigned == len(kafka.partitions(topic))
        )

    for client in clients:
        client.subscribe([topic])
    poller = threading.Thread(target=poll, name=f"members of {group}")
    poller.start()
    try:
        wait_until(all_joined, timeout_s=30, what=f"{count} members of {group}")
        yield clients
    finally:
        stop.set()
        poller.join()
        for client in clients:
            client.close()


def commit(
    kafka: KafkaTopics, group: str, topic: str, offsets: dict[int, int], metadata: str = ""
) -> None:
    """Commit as a client outside the group."""
    client = Consumer(kafka.client_config(group_id=group, enable_auto_commit=False))
    try:
        places = [TopicPartition(topic, *place, metadata) for place in offsets.items()]
        for place in client.commit(offsets=places, asynchronous=False) or []:
            assert place.error is None
    finally:
        client.close()


def lag_by_tool(
    kafka: KafkaBroker, *groups: str
) -> dict[tuple[str, str, int], tuple[int | None, int, int | None]]:
    """Map (group, topic, partition) to committed, end and lag, from ``kafka-consumer-groups``."""
    named = [argument for group in groups for argument in ("--group", group)]
    found = {}
    for line in kafka.run_tool(_TOOL, "--describe", "--offsets", *named).splitlines():
        cells = line.split()
        if len(cells) >= 6 and cells[0] in groups:
            committed, end, lag = (None if cell == "-" else int(cell) for cell in cells[3:6])
            assert end is not None
            found[cells[0], cells[1], int(cells[2])] = (committed, end, lag)
    return found
