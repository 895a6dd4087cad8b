"""A message that is larger than the client takes silences no partition: the limit is raised."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest
from confluent_kafka import KafkaError, Producer

from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.mock_cluster import MockCluster
from consumer_fleet.kafka.range_reader import RangeReader
from consumer_fleet.kafka.reader import Range, TopicReader
from consumer_fleet.kafka.receive_limit import ReceiveLimit, with_room_for

TOPIC = "large"
LIMIT = "receive.message.max.bytes"
SMALL = {"fetch.max.bytes": "1000", "fetch.message.max.bytes": "1000", "message.max.bytes": "1000"}
MIB = 1024 * 1024
SIZE = 2_000_000


@pytest.mark.parametrize(
    ("settings", "message_bytes", "limit"),
    [
        ({}, None, None),
        ({}, MIB, None),
        ({}, 100_000_000, 100_000_000 + MIB),
        ({}, 2**31 - 1, 2**31 - 1),
        ({"fetch.max.bytes": "300000000"}, 200_000_000, 300_000_000 + MIB),
        ({LIMIT: "1000"}, 200_000_000, 200_000_000 + MIB),
        ({LIMIT: "300000000"}, 200_000_000, "300000000"),
        ({LIMIT: "0x10000000"}, MIB, "0x10000000"),
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
        for value in (b"small", b"x" * SIZE):
            producer.produce(TOPIC, value, partition=0)
            assert producer.flush(10) == 0
        yield cluster.bootstrap_servers


def config_of(servers: str) -> dict[str, object]:
    return client_config(servers, {**SMALL, LIMIT: "1000000"})


def read_all(servers: str) -> list[int]:
    """Read the topic to its end; the messages' sizes."""
    sizes: list[int] = []
    deadline = monotonic() + 30
    with TopicReader(config_of(servers), TOPIC) as reader:
        while not reader.at_end and monotonic() < deadline:
            sizes.extend(len(message.value() or b"") for message in reader.read())
    return sizes


def test_a_reader_takes_a_message_above_its_limit(servers: str) -> None:
    assert read_all(servers) == [len(b"small"), SIZE]


def read_range(servers: str, messages: int) -> list[int]:
    """Read them to the end; their sizes."""
    sizes: list[int] = []
    deadline = monotonic() + 30
    with RangeReader(config_of(servers), {(TOPIC, 0): Range(0, messages)}) as reader:
        while reader.open and monotonic() < deadline:
            sizes.extend(len(message.value() or b"") for message in reader.read())
        assert not reader.open
        assert not reader.unread
    return sizes


def test_a_reader_of_ranges_takes_a_message_above_its_limit(servers: str) -> None:
    assert read_range(servers, 2) == [len(b"small"), SIZE]


@pytest.fixture
def packed() -> Iterator[str]:
    """Brokers with a topic whose second batch has a thousandth of its three megabytes."""
    with MockCluster() as cluster:
        cluster.create_topic(TOPIC)
        packing = {"compression.type": "zstd", "batch.size": 5 * MIB, "linger.ms": 1000}
        producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap_servers,
                "message.max.bytes": 5 * MIB,
                **packing,
            }
        )
        for batch in ([b"small"], [bytes(MIB)] * 3):
            for value in batch:
                producer.produce(TOPIC, value, partition=0)
            assert producer.flush(10) == 0
        yield cluster.bootstrap_servers


def test_a_reader_takes_a_batch_that_unpacks_to_more_than_its_limit(packed: str) -> None:
    assert read_all(packed) == [len(b"small"), MIB, MIB, MIB]


def test_a_reader_of_ranges_takes_a_batch_that_unpacks_to_more_than_its_limit(
    packed: str,
) -> None:
    assert read_range(packed, 4) == [len(b"small"), MIB, MIB, MIB]


def test_for_a_batch_that_can_not_be_unpacked_the_limit_is_raised_to_the_largest_and_no_more() -> (
    None
):
    text = "Decompression (codec 0x4) of message at 7 of 99 bytes failed: Local: Invalid"
    limit, limits = ReceiveLimit({}), []
    while limit.note(KafkaError(KafkaError._BAD_COMPRESSION, text), "events/0"):
        assert limit.note(KafkaError(KafkaError._BAD_COMPRESSION, text), "events/0"), (
            "once a client"
        )
        limits.append(limit.take()[LIMIT])
    assert limits == [300_000_000 + MIB, 3 * (300_000_000 + MIB) + MIB, 2**31 - 1]
    gzip = KafkaError(KafkaError._BAD_COMPRESSION, text.replace("0x4", "0x1"))
    assert not ReceiveLimit({}).note(gzip, "events/0"), "it has no limit"


def test_what_is_no_response_of_a_broker_raises_no_limit() -> None:
    """A web server's answer, read as a size, is above every limit."""
    limit = ReceiveLimit({})
    text = (
        f"a:1/1: Receive failed: Invalid response size 1213486160 (0..100000000): increase {LIMIT}"
    )
    where = "events/0 at or after offset 5"
    before_login = KafkaError(KafkaError._BAD_MSG, f"{text} (after 0ms in state APIVERSION_QUERY)")
    in_use = KafkaError(KafkaError._BAD_MSG, f"{text} (after 9ms in state UP)")
    assert not limit.note(before_login, where)
    assert not limit.note(in_use, where="")
    assert limit.config == {}
    assert limit.note(in_use, where)
    assert limit.is_outgrown
