"""Messages with unique event ids, written at once or as a steady stream."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import msgpack
import orjson
from confluent_kafka import KafkaError, Message, Producer

from consumer_fleet.capture.envelope import build, make_item, serialize
from tests.support.kafka_topics import REQUEST_TIMEOUT_S, KafkaTopics
from tests.support.messages import examples

_TICK_S = 0.05


class Sent(NamedTuple):
    """The position of a message, and when (Unix time) the broker acknowledged it."""

    partition: int
    time_s: float


def messages(logical_topic: str, count: int, *, padding: int = 0) -> dict[str, bytes]:
    """Build messages of that topic by event id, each with ``padding`` more bytes."""
    make = _MAKERS[logical_topic]
    ids = [uuid.uuid4().hex for _ in range(count)]
    return {event_id: make(event_id, padding) for event_id in ids}


def _stream_message(event_id: str, padding: int) -> bytes:
    version, operation, row, *rest = orjson.loads(_STREAM_EXAMPLE)
    row["event_id"] = row["data"]["event_id"] = event_id
    row["data"]["extra"] = {"padding": "x" * padding}
    return orjson.dumps([version, operation, row, *rest])


def _ingest_message(event_id: str, padding: int) -> bytes:
    payload = orjson.dumps(_event(event_id, padding))
    return bytes(msgpack.packb({**_INGEST_EXAMPLE, "payload": payload, "event_id": event_id}))


def _raw_envelope(event_id: str, padding: int) -> bytes:
    envelope = build(event_id, (make_item("event", orjson.dumps(_event(event_id, padding))),))
    dsn = "https://key@o0.ingest.example.invalid/1"
    return serialize(envelope, dsn=dsn, sent_at="2026-01-01T00:00:00Z")


def _event(event_id: str, padding: int) -> dict[str, object]:
    event = orjson.loads(_INGEST_EXAMPLE["payload"])
    return {**event, "event_id": event_id, "extra": {"padding": "x" * padding}}


_STREAM_EXAMPLE = examples("events")["errors1.json"]
_INGEST_EXAMPLE: dict[str, Any] = msgpack.unpackb(
    examples("ingest-events")["dev-default-message.msgpack"]
)
_MAKERS: Mapping[str, Callable[[str, int], bytes]] = {
    "events": _stream_message,
    "ingest-events": _ingest_message,
    "envelopes": _raw_envelope,
}


class SteadyLoad:
    """A block during which ``ingest-events`` are written at a steady rate to all partitions."""

    def __init__(
        self, kafka: KafkaTopics, topic: str, *, per_second: int, padding: int = 0
    ) -> None:
        self._topic = topic
        self._partitions = kafka.partitions(topic)
        self._per_tick = max(1, round(per_second * _TICK_S))
        self._padding = padding
        self._producer = Producer(kafka.client_config(acks="all", linger_ms=5))
        self._sent: dict[str, Sent] = {}
        self._refused: list[KafkaError] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"load of {topic}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.flush(REQUEST_TIMEOUT_S)
        assert not self._refused

    @property
    def sent(self) -> dict[str, Sent]:
        """Everything that Kafka acknowledged, by event id. Complete after the block."""
        return dict(self._sent)

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(_TICK_S):
            for event_id, value in messages(
                "ingest-events", self._per_tick, padding=self._padding
            ).items():
                self._write(event_id, value, self._partitions[number % len(self._partitions)])
                number += 1
            self._producer.poll(0)

    def _write(self, event_id: str, value: bytes, partition: int) -> None:
        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                self._refused.append(error)
            else:
                self._sent[event_id] = Sent(partition, time.time())

        self._producer.produce(self._topic, value, partition=partition, on_delivery=delivered)
