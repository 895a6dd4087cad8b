"""The checks of a real cluster before a consumer joins."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from arroyo.types import Partition, Topic
from confluent_kafka.admin import ConfigResource, ResourceType

from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.topic_watch import TopicWatch, ends_of
from tests.conftest import TopicFactory
from tests.support.kafka_broker import KafkaBroker, running_broker
from tests.support.processes import free_ports, wait_until


@pytest.fixture
def cluster(kafka: KafkaBroker) -> Cluster:
    return Cluster(client_config(kafka.bootstrap_servers, {}))


def settings(kafka: KafkaBroker, topic: str) -> dict[str, str]:
    # The controller answers a creation; the broker, which answers this, learns of it later.
    wait_until(lambda: bool(kafka.partitions(topic)), timeout_s=30, what=f"{topic} to be known")
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = kafka.admin.describe_configs([resource])[resource].result(30)
    return {name: str(entry.value) for name, entry in entries.items()}


def topics(kafka: KafkaBroker) -> set[str]:
    return set(kafka.admin.list_topics(timeout=30).topics)


def test_a_missing_dead_letter_topic_is_created_to_last_and_with_room(
    kafka: KafkaBroker, topic: TopicFactory, cluster: Cluster
) -> None:
    source = topic(config={"max.message.bytes": 2_000_000})
    cluster.ensure_dead_letter_topic(f"{source}-dlq", source)
    made = settings(kafka, f"{source}-dlq")
    assert made["retention.ms"] == "-1"
    assert made["cleanup.policy"] == "delete"
    assert int(made["max.message.bytes"]) >= 2_000_000 + 10_000
    assert kafka.partitions(f"{source}-dlq") == [0]
    cluster.ensure_dead_letter_topic(f"{source}-dlq", source)
    assert settings(kafka, f"{source}-dlq") == made


def test_a_dead_letter_topic_that_is_there_stays_as_it_is(
    kafka: KafkaBroker, topic: TopicFactory, cluster: Cluster
) -> None:
    source = topic()
    own = topic(3, {"retention.ms": "1000", "max.message.bytes": 5000})
    before = settings(kafka, own)
    cluster.ensure_dead_letter_topic(own, source)
    assert settings(kafka, own) == before
    assert kafka.partitions(own) == [0, 1, 2]


def test_a_topic_that_somebody_else_makes_at_the_same_time_is_theirs(
    kafka: KafkaBroker, topic: TopicFactory, cluster: Cluster
) -> None:
    theirs = topic(3)
    cluster.create_topic(theirs, 1, {})
    assert kafka.partitions(theirs) == [0, 1, 2]


def test_a_dead_letter_topic_that_can_t_be_created_is_an_error_with_ways_out(
    topic: TopicFactory, cluster: Cluster
) -> None:
    with pytest.raises(ConfigurationError, match="not/a/name"):
        cluster.ensure_dead_letter_topic("not/a/name", topic())


def test_a_missing_topic_is_an_error_and_is_not_created_by_asking(
    kafka: KafkaBroker, cluster: Cluster
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        cluster.partitions("no-such-topic")
    assert "'no-such-topic' does not exist" in str(caught.value)
    assert kafka.bootstrap_servers in str(caught.value)
    assert "--physical-topic" in str(caught.value)
    with pytest.raises(ConfigurationError):
        cluster.end_offsets("no-such-topic")
    assert "no-such-topic" not in topics(kafka)


def test_the_partitions_are_counted(topic: TopicFactory, cluster: Cluster) -> None:
    assert cluster.partitions(topic(3)) == 3


def test_an_open_transaction_is_not_part_of_a_partition_s_end(
    kafka: KafkaBroker, topic: TopicFactory, cluster: Cluster
) -> None:
    name = topic(2)
    kafka.produce(name, [b"x"] * 5, partition=0)
    transaction = kafka.transaction(name, 1)
    places = [Partition(Topic(name), index) for index in range(2)]
    assert cluster.end_offsets(name) == {places[0]: 5, places[1]: 0}
    transaction.commit()
    assert cluster.end_offsets(name) == {places[0]: 7, places[1]: 0}


def test_a_cluster_that_answers_is_not_waited_for(cluster: Cluster) -> None:
    cluster.check_reachable()


def test_a_cluster_that_does_not_answer_is_an_error_that_names_it() -> None:
    (port,) = free_ports(1)
    cluster = Cluster(client_config(f"127.0.0.1:{port}", {}))
    started = time.monotonic()
    with pytest.raises(KafkaUnreachable, match=f"127.0.0.1:{port}"):
        cluster.check_reachable()
    assert time.monotonic() - started < 14.0


def test_a_broker_that_goes_away_after_the_first_answer_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumer_fleet.kafka.cluster._REQUEST_TIMEOUT_S", 0.5)
    (port,) = free_ports(1)
    with pytest.raises(KafkaUnreachable, match="'events'"):
        Cluster(client_config(f"127.0.0.1:{port}", {})).partitions("events")


@pytest.fixture
def generous_kafka() -> Iterator[KafkaBroker]:
    """A broker that creates whatever topic it is asked about."""
    with running_broker({"auto.create.topics.enable": "true"}) as broker:
        yield broker


def test_a_topic_is_not_created_by_a_broker_that_makes_what_it_is_asked_about(
    generous_kafka: KafkaBroker,
) -> None:
    cluster = Cluster(client_config(generous_kafka.bootstrap_servers, {}))
    cluster.check_reachable()
    with pytest.raises(ConfigurationError):
        cluster.partitions("misspelt")
    source = generous_kafka.create_topic("events")
    cluster.ensure_dead_letter_topic("events-dlq", source)
    assert settings(generous_kafka, "events-dlq")["retention.ms"] == "-1"
    assert "misspelt" not in topics(generous_kafka)


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
def test_a_compacted_dead_letter_topic_is_refused_with_the_command_that_fixes_it(
    topic: TopicFactory, cluster: Cluster, policy: str
) -> None:
    own = topic(1, {"cleanup.policy": policy})
    with pytest.raises(ConfigurationError, match=r"--add-config cleanup\.policy=delete"):
        cluster.ensure_dead_letter_topic(own, topic())


def test_the_ends_of_a_topic_are_known_without_reading_it(
    kafka: KafkaBroker, topic: TopicFactory, cluster: Cluster
) -> None:
    name = topic(2)
    cluster.check_reachable()
    assigned = [0, 1]
    watch = TopicWatch(cluster, ends_of(name, lambda: assigned))
    assert watch.wait() == {0: 0, 1: 0}
    kafka.produce(name, [b"a", b"b"], partition=1)
    assert watch.wait() == {0: 0, 1: 2}
    assigned.clear()
    assert watch.wait() == {0: 0, 1: 2}
