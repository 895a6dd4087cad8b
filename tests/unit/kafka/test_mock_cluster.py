"""The embedded broker keeps all messages, and refuses those that do not fit."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from consumer_fleet.kafka.mock_cluster import (
    PARTITION_BYTES,
    PARTITIONS,
    MockCluster,
    MockClusterFull,
    MockMessage,
)
from tests.support.addresses import outward_address

_LIST_TOPICS = """
import sys
from confluent_kafka.admin import AdminClient
metadata = AdminClient({"bootstrap.servers": sys.argv[1]}).list_topics(timeout=10)
print(*metadata.topics)
"""


@pytest.fixture
def cluster() -> Iterator[MockCluster]:
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture
def consumer(cluster: MockCluster) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "group.id": "readers",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "log.connection.close": False,
        }
    )
    yield consumer
    consumer.close()


def read(consumer: Consumer, topic: str, count: int) -> list[Message]:
    """``count`` messages of all partitions, in each partition's order."""
    consumer.assign([TopicPartition(topic, index, 0) for index in range(PARTITIONS)])
    messages: list[Message] = []
    for _ in range(100):
        batch = consumer.consume(count - len(messages), timeout=0.1)
        assert not [message.error() for message in batch if message.error()]
        messages.extend(batch)
        if len(messages) == count:
            return messages
    raise AssertionError(f"{len(messages)} of {count} messages arrived")


def test_a_created_topic_has_the_cluster_s_number_of_partitions(
    cluster: MockCluster, consumer: Consumer
) -> None:
    cluster.create_topic("jobs")
    cluster.create_topic("jobs")
    assert len(consumer.list_topics("jobs", timeout=10).topics["jobs"].partitions) == PARTITIONS


def test_a_message_is_read_as_it_was_produced(cluster: MockCluster, consumer: Consumer) -> None:
    headers = (("b", b"1"), ("a", None), ("b", b""))
    cluster.produce(
        "jobs",
        [
            MockMessage(b"\x00value", key=b"k", headers=headers, timestamp_ms=1_700_000_000_123),
            MockMessage(None, key=b"", partition=2),
            MockMessage(b"", partition=3),
        ],
    )

    messages = read(consumer, "jobs", 3)

    by_value = {message.value(): message for message in messages}
    first = by_value[b"\x00value"]
    assert (first.key(), first.timestamp()[1]) == (b"k", 1_700_000_000_123)
    assert first.headers() == list(headers)
    assert (by_value[None].key(), by_value[None].partition()) == (b"", 2)
    assert (by_value[b""].key(), by_value[b""].partition()) == (None, 3)


def test_messages_without_a_key_take_turns_and_a_key_stays_in_one_partition(
    cluster: MockCluster, consumer: Consumer
) -> None:
    cluster.produce("turns", (MockMessage(b"%d" % number) for number in range(8)))
    cluster.produce("keys", (MockMessage(b"x", key=b"same") for _ in range(8)))

    turns = [message.partition() for message in read(consumer, "turns", 8)]
    keys = {message.partition() for message in read(consumer, "keys", 8)}

    assert Counter(turns) == dict.fromkeys(range(PARTITIONS), 2)
    assert len(keys) == 1


@pytest.mark.parametrize("size_bytes", [1, 1000])
def test_more_than_a_partition_keeps_is_refused_and_what_was_produced_is_all_there(
    cluster: MockCluster, consumer: Consumer, size_bytes: int
) -> None:
    endless = itertools.repeat(MockMessage(b"x" * size_bytes, partition=0))

    with pytest.raises(MockClusterFull, match="partition 0 of 'jobs' is full"):
        cluster.produce("jobs", endless)

    low, high = consumer.get_watermark_offsets(TopicPartition("jobs", 0), timeout=10)
    assert low == 0
    assert high * (size_bytes + 100) > PARTITION_BYTES * 0.99
    cluster.produce("jobs", [MockMessage(b"elsewhere", partition=1)])


def test_a_full_partition_loses_its_oldest_messages_where_that_is_allowed(
    cluster: MockCluster, consumer: Consumer
) -> None:
    large = MockMessage(b"x" * 500_000, partition=0)
    for _ in range(15):
        cluster.produce("jobs", [large], may_trim=True)
    low, high = consumer.get_watermark_offsets(TopicPartition("jobs", 0), timeout=10)
    assert (low > 0, high) == (True, 15)


def test_a_committed_offset_is_remembered(cluster: MockCluster, consumer: Consumer) -> None:
    cluster.produce("jobs", [MockMessage(b"x", partition=0)])
    read(consumer, "jobs", 1)
    consumer.commit(offsets=[TopicPartition("jobs", 0, 1)], asynchronous=False)
    (committed,) = consumer.committed([TopicPartition("jobs", 0)], timeout=10)
    assert committed.offset == 1


def test_another_process_can_reach_it(cluster: MockCluster) -> None:
    cluster.create_topic("jobs")
    found = subprocess.run(
        [sys.executable, "-c", _LIST_TOPICS, cluster.bootstrap_servers],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.stdout.split() == ["jobs"]


def test_it_listens_on_loopback_only(cluster: MockCluster) -> None:
    host, port = cluster.bootstrap_servers.split(":")
    assert host == "127.0.0.1"
    outward = outward_address()
    if outward is None:
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((outward, int(port)), timeout=5)


def test_a_closed_cluster_is_not_to_be_used_again() -> None:
    cluster = MockCluster()
    cluster.close()
    cluster.close()
    with pytest.raises(RuntimeError, match="closed"):
        cluster.create_topic("jobs")
