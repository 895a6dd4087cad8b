"""A message that is larger than the client takes is named, and taken where its topic allows it."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest
from arroyo.types import Topic
from confluent_kafka import Producer

from consumer_fleet.errors import ConfigurationError, FleetError
from consumer_fleet.kafka.clients import client_config, consumer_config, with_room_for
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.mock_cluster import MockCluster
from consumer_fleet.kafka.reader import TopicReader

TOPIC = "large"
LIMIT = "receive.message.max.bytes"
SMALL = {"fetch.max.bytes": "1000", "fetch.message.max.bytes": "1000", "message.max.bytes": "1000"}
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("settings", "message_bytes", "limit"),
    [
        ({}, None, None),
        ({}, MIB, None),
        ({}, 100_000_000, 100_000_000 + MIB),
        ({}, 2**31 - 1, 2**31 - 1),
        ({"fetch.max.bytes": "300000000"}, 200_000_000, 300_000_000 + MIB),
        ({LIMIT: "1000"}, 200_000_000, "1000"),
    ],
)
def test_the_limit_follows_what_the_topic_allows(
    settings: dict[str, str], message_bytes: int | None, limit: object
) -> None:
    assert with_room_for(settings, message_bytes).get(LIMIT) == limit


@pytest.fixture
def servers() -> Iterator[str]:
    """Brokers with a topic whose second message has 2 MB."""
    with MockCluster() as cluster:
        cluster.create_topic(TOPIC)
        producer = Producer(
            {"bootstrap.servers": cluster.bootstrap_servers, "message.max.bytes": 5 * MIB}
        )
        for value in (b"small", b"x" * 2_000_000):
            producer.produce(TOPIC, value, partition=0)
            assert producer.flush(10) == 0
        yield cluster.bootstrap_servers


def test_a_consumer_ends_and_names_the_position_and_the_setting(servers: str) -> None:
    failures: list[FleetError] = []
    config = client_config(servers, {**SMALL, LIMIT: "1000000"})
    consumer = ChunkConsumer(
        consumer_config(config, "group"),
        offset_policy="earliest",
        on_failure=failures.append,
        on_poll=lambda: None,
        on_offsets_lost=lambda _partition, _count: None,
    )
    consumer.subscribe([Topic(TOPIC)])
    deadline = monotonic() + 30
    while not failures and monotonic() < deadline:
        consumer.poll()
    consumer.close()
    failure = failures[0]
    assert isinstance(failure, ConfigurationError)
    assert f"{TOPIC}/0 at or after offset" in str(failure)
    assert LIMIT in str(failure)


def test_a_reader_ends_and_names_the_position_and_the_setting(servers: str) -> None:
    config = client_config(servers, {**SMALL, LIMIT: "1000000"})
    with (
        TopicReader(config, TOPIC) as reader,
        pytest.raises(ConfigurationError, match=f"{TOPIC}/0 at or after offset [01]: .*{LIMIT}"),
    ):
        read_to_end(reader)


def read_to_end(reader: TopicReader) -> list[int]:
    sizes: list[int] = []
    deadline = monotonic() + 30
    while not reader.at_end and monotonic() < deadline:
        sizes.extend(len(message.value() or b"") for message in reader.read())
    return sizes
