"""A message above librdkafka's own limit of 100 MB arrives where its topic allows it."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer

from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver

SIZE = 101_000_000
LIMIT = 110_000_000


def test_a_message_of_101_mb_silences_no_partition(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    name = topic(1, {"max.message.bytes": LIMIT})
    producer = Producer(kafka.client_config(message_max_bytes=LIMIT))
    producer.produce(name, b"\xc1" * SIZE, partition=0)
    assert producer.flush(60) == 0
    kafka.produce(name, [b"after"])
    servers = ("--bootstrap-servers", kafka.bootstrap_servers)
    with ConsumerProcess(
        tmp_path,
        *("--topic", "ingest-events", "--physical-topic", name, "--stop-at-end"),
        *("--workers", "1", "--upstream-dsn", upstream.dsn(), *servers),
    ) as consumer:
        assert consumer.wait(60) == 0
    (summary,) = consumer.events("summary")
    assert summary["dead_lettered"] == {"invalid_msgpack": 2}
    recorded = run_command(
        "record", "--topic", name, "-o", "large.recording", *servers, cwd=tmp_path
    )
    assert recorded.returncode == 0, recorded.stderr
    assert (tmp_path / "large.recording").stat().st_size > 0
