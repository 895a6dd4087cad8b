"""A range of a topic is read completely, once, and without a trace on the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from confluent_kafka import KafkaException, Message
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from structlog.testing import capture_logs

from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec
from consumer_fleet.kafka.reader import TopicReader
from tests.conftest import TopicFactory
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import free_ports

KEEP = {"retention.ms": -1}
FIRST_MS = 1_700_000_000_000


def read_all(reader: TopicReader) -> list[tuple[int, int]]:
    """The (partition, offset) of everything to the end, in the order of reading."""
    return [(message.partition() or 0, message.offset() or 0) for message in messages_of(reader)]


def messages_of(reader: TopicReader) -> Iterator[Message]:
    deadline = monotonic() + 30
    while not reader.at_end:
        assert monotonic() < deadline, f"the reader stands at {reader.positions()}"
        yield from reader.read(100, 0.2)


def fill(kafka: KafkaBroker, topic: str, count: int, partition: int = 0) -> None:
    for number in range(count):
        kafka.produce(topic, [b"%d" % number], partition=partition, timestamp_ms=FIRST_MS + number)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (EARLIEST, LATEST, range(20)),
        (OffsetSpec("offset", 5), OffsetSpec("offset", 9), range(5, 9)),
        (OffsetSpec("offset", 5), OffsetSpec("offset", 500), range(5, 20)),
        (OffsetSpec("time", FIRST_MS + 3), OffsetSpec("time", FIRST_MS + 7), range(3, 7)),
        (OffsetSpec("time", FIRST_MS - 10), OffsetSpec("time", FIRST_MS + 10_000), range(20)),
        (OffsetSpec("time", FIRST_MS + 10_000), LATEST, range(0)),
        (OffsetSpec("relative", -3), LATEST, range(17, 20)),
        (OffsetSpec("offset", 9), OffsetSpec("offset", 5), range(0)),
        (LATEST, LATEST, range(0)),
    ],
)
def test_a_range_is_read_from_its_start_to_before_its_end(
    kafka: KafkaBroker, topic: TopicFactory, start: OffsetSpec, end: OffsetSpec, expected: range
) -> None:
    name = topic(2, KEEP)
    fill(kafka, name, 20)
    with TopicReader(kafka.client_config(), name, start=start, end=end) as reader:
        assert reader.total == len(expected)
        assert read_all(reader) == [(0, offset) for offset in expected]
        assert reader.done == reader.total
        assert reader.watermarks == {0: (0, 20), 1: (0, 0)}
        assert (reader.partitions, bool(reader.cluster_id)) == (2, True)


def test_the_end_is_fixed_at_the_start(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic(1, KEEP)
    fill(kafka, name, 5)
    with TopicReader(kafka.client_config(), name) as reader:
        fill(kafka, name, 5)
        assert len(read_all(reader)) == 5


def test_without_an_end_it_goes_on_with_what_comes(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic(2, KEEP)
    fill(kafka, name, 3)
    with TopicReader(kafka.client_config(), name, start=LATEST, end=None) as reader:
        fill(kafka, name, 2, partition=1)
        found: list[Message] = []
        deadline = monotonic() + 30
        while len(found) < 2 and monotonic() < deadline:
            found += reader.read(100, 0.2)
        assert [(each.partition(), each.offset()) for each in found] == [(1, 0), (1, 1)]
        assert not reader.at_end
        assert reader.positions() == {0: 3, 1: 2}


def test_a_range_that_ends_in_control_records_is_read_to_its_end(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(1, KEEP)
    kafka.transaction(name, 1).commit()
    kafka.transaction(name, 1).abort()
    kafka.transaction(name, 1).commit()
    with TopicReader(kafka.client_config(), name) as reader:
        assert read_all(reader) == [(0, 0), (0, 4)]
        assert reader.total == reader.done == 6
    # Where the end lies in a gap, the first message behind it is none of the range's.
    with TopicReader(kafka.client_config(), name, end=OffsetSpec("offset", 3)) as reader:
        assert read_all(reader) == [(0, 0)]
        assert reader.done == 3


def test_tombstones_and_empty_values_are_messages(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic(1, KEEP)
    kafka.produce(name, [None, b"", b"x"])
    with TopicReader(kafka.client_config(), name) as reader:
        assert [message.value() for message in messages_of(reader)] == [None, b"", b"x"]


def test_only_the_partitions_asked_for_are_read(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic(3, KEEP)
    for index in range(3):
        fill(kafka, name, 2, partition=index)
    with TopicReader(kafka.client_config(), name, partitions=[2, 0, 2]) as reader:
        assert sorted(read_all(reader)) == [(0, 0), (0, 1), (2, 0), (2, 1)]
    with pytest.raises(ConfigurationError, match="has no partition 3: it has 3"):
        TopicReader(kafka.client_config(), name, partitions=[3])


def test_what_retention_took_during_the_reading_is_named(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(1, KEEP)
    for _ in range(10):
        kafka.produce(name, [bytes(50_000)])
    # Little is fetched ahead, so that the rest is still to be fetched when it goes.
    config = kafka.client_config(queued_max_messages_kbytes=1, fetch_message_max_bytes=1000)
    with TopicReader(config, name) as reader:
        kafka.delete_records(name, {0: 10})
        with pytest.raises(ConfigurationError, match=r"/0: offset \d was deleted by retention"):
            read_all(reader)


def test_offsets_that_were_asked_for_and_are_gone_are_reported_once_by_partition(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(3, KEEP)
    for index in range(2):
        fill(kafka, name, 30, partition=index)
    kafka.delete_records(name, {0: 10, 1: 30})

    def gone(
        start: OffsetSpec, end: OffsetSpec | None
    ) -> tuple[dict[int, int], list[tuple[int, ...]]]:
        with (
            capture_logs() as logs,
            TopicReader(kafka.client_config(), name, start=start, end=end) as reader,
        ):
            reader.read(1, 0.1)
        keys = ("partition", "asked_for", "oldest", "gone")
        told = [tuple(line[key] for key in keys) for line in logs]
        assert {line["event"] for line in logs} <= {"offsets_gone"}
        return reader.gone, told

    both = ({0: 5, 1: 25}, [(0, 5, 10, 5), (1, 5, 30, 25)])
    assert gone(OffsetSpec("offset", 5), LATEST) == gone(OffsetSpec("offset", 5), None) == both
    assert gone(OffsetSpec("offset", 5), OffsetSpec("offset", 15))[0] == {0: 5, 1: 10}
    assert gone(OffsetSpec("offset", 5), OffsetSpec("offset", 8))[0] == {0: 3, 1: 3}
    assert gone(OffsetSpec("offset", 10), LATEST) == ({1: 20}, [(1, 10, 30, 20)])
    for start in (EARLIEST, LATEST, OffsetSpec("relative", -100), OffsetSpec("time", FIRST_MS)):
        assert gone(start, LATEST) == ({}, []), "nobody asked for what is gone"


def test_a_topic_that_is_not_there_and_no_broker_are_named(kafka: KafkaBroker) -> None:
    with pytest.raises(ConfigurationError, match="'no-such-topic'"):
        TopicReader(kafka.client_config(), "no-such-topic")
    with pytest.raises(KafkaUnreachable, match="'t'"):
        TopicReader({"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}", "log_level": 0}, "t")


def test_settings_of_a_membership_do_no_harm(kafka: KafkaBroker, topic: TopicFactory) -> None:
    name = topic(1, KEEP)
    fill(kafka, name, 1)
    config = kafka.client_config(group_protocol="consumer", group_instance_id="me")
    with TopicReader(config, name) as reader:
        assert read_all(reader) == [(0, 0)]


def test_no_access_to_any_group_is_needed(tmp_path: Path) -> None:
    """A principal that may read the topic, and is denied every group, reads to the end."""
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
    }
    with closing(KafkaBroker(settings, folder=tmp_path)) as broker:
        broker.start()
        broker.create_topic("t", 1, KEEP)
        fill(broker, "t", 5)
        denied = AclBinding(
            ResourceType.GROUP,
            "*",
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            AclOperation.ALL,
            AclPermissionType.DENY,
        )
        for future in broker.admin.create_acls([denied]).values():
            future.result(30)
        with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
            broker.admin.describe_consumer_groups(["any"])["any"].result(30)
        with TopicReader(broker.client_config(), "t") as reader:
            assert len(read_all(reader)) == 5


def test_a_broker_that_goes_away_ends_the_reading_of_a_range(tmp_path: Path) -> None:
    with closing(KafkaBroker(folder=tmp_path)) as broker:
        broker.start()
        broker.create_topic("t", 1, KEEP)
        for _ in range(10):
            broker.produce("t", [bytes(50_000)])
        config = broker.client_config(queued_max_messages_kbytes=1, fetch_message_max_bytes=1000)
        with TopicReader(config, "t", patience_s=1) as reader:
            broker.stop(kill=True)
            with pytest.raises(KafkaUnreachable, match="no message for 1 s"):
                read_all(reader)
