"""Offsets of a topic that was deleted are not those of the one that was created in its place."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess
from tests.support.dead_letter_scene import ids, ingest_event
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver

OLD, NEW = 100, 250


def run(
    kafka: KafkaBroker, topic: str, upstream: ScriptedReceiver, folder: Path
) -> ConsumerProcess:
    return ConsumerProcess(
        folder,
        *("--topic", "ingest-events", "--physical-topic", topic, "--group", f"group-{topic}"),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--upstream-dsn", upstream.dsn()),
        *("--workers", "1"),
    )


def fill(kafka: KafkaBroker, topic: str, count: int) -> set[str]:
    """Fresh events; returns their ids."""
    fresh = [uuid.uuid4().hex for _ in range(count)]
    kafka.produce(topic, [ingest_event(each) for each in fresh], partition=0)
    return set(fresh)


@pytest.mark.parametrize("partitions", [2, 1])
def test_everything_in_a_topic_that_was_created_again_is_delivered(
    kafka: KafkaBroker,
    topic: TopicFactory,
    upstream: ScriptedReceiver,
    tmp_path: Path,
    partitions: int,
) -> None:
    name = topic(2)
    old = fill(kafka, name, OLD)
    with run(kafka, name, upstream, tmp_path) as consumer:
        consumer.wait_until(lambda: old <= ids(upstream).keys(), "the old messages")
        consumer.wait_until(
            lambda: kafka.committed(f"group-{name}", name).get(0) == OLD, "the commit"
        )
        kafka.delete_topic(name)
        kafka.create_topic(name, partitions)
        new = fill(kafka, name, NEW)
        (named,) = consumer.wait_for("topic_recreated", timeout_s=40)
        assert (named["partitions_before"], named["partitions"]) == (2, partitions)
        consumer.wait_until(lambda: new <= ids(upstream).keys(), "the new messages")
        consumer.wait_until(
            lambda: kafka.committed(f"group-{name}", name).get(0) == NEW, "the new commit"
        )


def test_a_deleted_topic_ends_the_run_within_seconds(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    name = topic(1)
    with run(kafka, name, upstream, tmp_path) as consumer:
        consumer.wait_for("partitions_assigned")
        kafka.delete_topic(name)
        assert consumer.wait(40) == 78
        assert f"the topic {name!r} was deleted" in consumer.output()
