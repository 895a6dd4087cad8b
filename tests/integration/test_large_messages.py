"""A message, or a batch, above a client's limit arrives: librdkafka's or one of kafka_config."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

import orjson
from confluent_kafka import KafkaError, Message, Producer

from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.dead_letter_scene import ids, ingest_event
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver

SIZE = 101_000_000
LIMIT = 110_000_000


def send(producer: Producer, topic: str, values: Iterable[bytes]) -> None:
    """Write the values into the first partition, and check that none was refused."""
    errors: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            errors.append(error)

    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=on_delivery)
    assert producer.flush(60) == 0
    assert errors == []


def test_a_message_of_101_mb_silences_no_partition(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    name = topic(1, {"max.message.bytes": LIMIT})
    producer = Producer(kafka.client_config(message_max_bytes=LIMIT))
    send(producer, name, [b"\xc1" * SIZE])
    kafka.produce(name, [b"after"])
    servers = ("--bootstrap-servers", kafka.bootstrap_servers)
    with ConsumerProcess(
        tmp_path,
        *("--topic", "ingest-events", "--physical-topic", name, "--stop-at-end"),
        *("--group", f"group-{name}"),
        *("--workers", "1", "--upstream-dsn", upstream.dsn(), *servers),
    ) as consumer:
        assert consumer.wait() == 0
    (summary,) = consumer.events("summary")
    assert summary["dead_lettered"] == {"invalid_msgpack": 2}
    recorded = run_command(
        "record", "--topic", name, "-o", "large.recording", *servers, cwd=tmp_path
    )
    assert recorded.returncode == 0, recorded.stderr
    assert (tmp_path / "large.recording").stat().st_size > 0


def test_a_message_and_a_batch_above_the_limit_are_delivered_and_nothing_twice(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    name = topic(1, {"max.message.bytes": 900_000})
    settings = ("receive.message.max.bytes=2000000", "fetch.max.bytes=1000000")
    with ConsumerProcess(
        tmp_path,
        *("--topic", "ingest-events", "--physical-topic", name, "--workers", "1"),
        *("--group", f"group-{name}"),
        *("--upstream-dsn", upstream.dsn(), "--bootstrap-servers", kafka.bootstrap_servers),
        *(part for each in settings for part in ("--kafka-config", each)),
    ) as consumer:
        consumer.wait_for("partitions_assigned")
        kafka.set_topic_config(name, "max.message.bytes", LIMIT)
        before, large, after = (uuid.uuid4().hex for _ in range(3))
        kafka.produce(name, [ingest_event(before)])
        consumer.wait_until(lambda: before in ids(upstream), "the first event")
        payload = orjson.dumps({"event_id": large, "message": "x" * 5_000_000})
        kafka.produce(name, [ingest_event(large, payload=payload)])
        kafka.produce(name, [ingest_event(after)])
        consumer.wait_until(lambda: {large, after} <= ids(upstream).keys(), "the other events")
        (warning,) = consumer.events("receive_limit_raised")
        assert f"{name}/0 at or after offset 1" in warning["where"]
        # Twelve megabytes in one batch of some kilobytes.
        packing = Producer(
            kafka.client_config(
                message_max_bytes=LIMIT, batch_size=LIMIT, linger_ms=5000, compression_type="zstd"
            )
        )
        packed = [uuid.uuid4().hex for _ in range(12)]
        filler = "x" * 1_000_000
        send(
            packing,
            name,
            (
                ingest_event(each, payload=orjson.dumps({"event_id": each, "message": filler}))
                for each in packed
            ),
        )
        consumer.wait_until(lambda: set(packed) <= ids(upstream).keys(), "those of the batch")
        *_, warning = consumer.events("receive_limit_raised")
        assert "Decompression" in warning["why"]
    assert dict(ids(upstream)) == dict.fromkeys([before, large, after, *packed], 1)
