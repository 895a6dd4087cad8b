"""Messages that contenders read: as Relay writes ``ingest-events``, 1.3 to 1.5 KB or padded."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable, Iterator

import msgpack
import orjson
from confluent_kafka import KafkaError, Message, Producer

from tests.support.kafka_topics import MAX_MESSAGE_BYTES, KafkaTopics
from tests.support.messages import examples

PARTITIONS = 4
_LONGEST_TEXT = 200
_QUEUE_LIMIT = 50_000
_QUEUE_BYTES = 256 * 1024 * 1024
_FLUSH_TIMEOUT_S = 60


def messages(count: int, padding: int = 0) -> Iterator[bytes]:
    """Vary ids and texts of sentry-kafka-schemas' example, the same way at each call.

    ``padding`` is the length of one more text, which makes large messages.
    """
    example = msgpack.unpackb(next(iter(examples("ingest-events").values())))
    event = orjson.loads(example["payload"])
    chance = random.Random(count)
    texts = [chance.randbytes(_LONGEST_TEXT // 2).hex() for _ in range(1000)]
    # One dump per message would take longer than the measurement: the payload is split once, where
    # the id and the text go.
    if padding:
        event["extra"] = {"text": random.Random(0).randbytes(padding // 2).hex()}
    event["event_id"], event["logentry"]["formatted"] = "<cut>", "<cut>"
    start, middle, end = orjson.dumps(event).split(b"<cut>")
    for _ in range(count):
        event_id = uuid.UUID(int=chance.getrandbits(128), version=4).hex
        text = chance.choice(texts)[: chance.randrange(_LONGEST_TEXT)]
        example["event_id"] = event_id
        example["payload"] = start + event_id.encode() + middle + text.encode() + end
        yield msgpack.packb(example)


def envelopes(count: int) -> Iterator[bytes]:
    """Wrap the same events into raw envelopes, each with an item of metrics beside it."""
    metrics = b"requests@none:1|c|#route:/a,status:200|T1700000000\n" * 4
    for value in messages(count):
        fields = msgpack.unpackb(value)
        header = b'{"event_id":"%b"}' % fields["event_id"].encode()
        event = b'{"type":"event","length":%d}' % len(fields["payload"])
        statsd = b'{"type":"statsd","length":%d}' % len(metrics)
        yield b"\n".join((header, event, fields["payload"], statsd, metrics, b""))


def fill(kafka: KafkaTopics, topic: str, count: int, padding: int = 0) -> str:
    """Create the topic with ``count`` messages, spread evenly over its partitions."""
    return write(kafka, topic, messages(count, padding))


def write(kafka: KafkaTopics, topic: str, values: Iterable[bytes]) -> str:
    """Create the topic with these messages, spread evenly over its partitions."""
    kafka.create_topic(topic, PARTITIONS)
    append(kafka, topic, values)
    return topic


def append(kafka: KafkaTopics, topic: str, values: Iterable[bytes]) -> None:
    """Write these messages, spread evenly over the topic's partitions."""
    producer = Producer(
        kafka.client_config(
            compression_type="lz4",
            linger_ms=20,
            batch_num_messages=2000,
            message_max_bytes=MAX_MESSAGE_BYTES,
        )
    )
    failures: list[KafkaError] = []
    size = 0

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    for number, value in enumerate(values):
        # Large messages fill the producer's memory before there are many.
        size += len(value)
        if len(producer) >= _QUEUE_LIMIT or size >= _QUEUE_BYTES:
            producer.flush(_FLUSH_TIMEOUT_S)
            size = 0
        producer.produce(topic, value, partition=number % PARTITIONS, on_delivery=on_delivery)
        producer.poll(0)
    if producer.flush(_FLUSH_TIMEOUT_S) or failures:
        raise RuntimeError(f"{topic} was not filled: {failures[:1] or 'time is up'}")
