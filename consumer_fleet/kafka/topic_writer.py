"""Writes messages into a topic: in order per partition, once, and acknowledged by all replicas."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.errors import FleetError, KafkaUnreachable, UndeliverableMessage
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.clients import make_client, producer_config

# What may wait for the broker: librdkafka's default is a gigabyte.
_QUEUE_KIB = 64 * 1024
_POLL_S = 0.05
# For the callbacks of purged messages, which wait for nothing.
_PURGE_S = 10.0
_UNREACHABLE = (
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
)
# Errors of a message that another message has caused.
_CONSEQUENCES = (
    KafkaError._INVALID_DIFFERENT_RECORD,
    KafkaError._PURGE_QUEUE,
    KafkaError._PURGE_INFLIGHT,
)
# What to do about an error, where its text does not say so.
_REMEDIES = {
    KafkaError.INVALID_TIMESTAMP: "message.timestamp.after.max.ms and before.max.ms limit its "
    "timestamps; --shift-time moves those of a replay",
    KafkaError.MSG_SIZE_TOO_LARGE: "its max.message.bytes is too low",
    KafkaError.INVALID_RECORD: "a compacted topic refuses messages without a key",
}


class TopicWriter:
    """Used from one thread. ``failure`` is that of the first message that was refused: nothing
    after it is sent, and ``acknowledged`` counts those before it. ``produced`` counts what was
    queued.
    """

    def __init__(self, base_config: Mapping[str, Any], topic: str) -> None:
        self._topic = topic
        self.produced = 0
        self._produced_bytes = 0
        self._failed = 0
        self._failed_bytes = 0
        self.failure: FleetError | None = None
        self._is_consequence = False
        config = {
            "queue.buffering.max.kbytes": _QUEUE_KIB,
            # As Java's clients do, so that a key's messages share a partition.
            "partitioner": "murmur2_random",
            **producer_config(base_config),
            # Success is the absence of a report: a callback for each message costs more than
            # sending it.
            "delivery.report.only.error": True,
            "on_delivery": self._not_delivered,
        }
        self._producer = make_client(Producer, config)

    @property
    def acknowledged(self) -> int:
        """Messages that the broker has. Exact after ``finish``."""
        return self.produced - self._failed - len(self._producer)

    @property
    def acknowledged_bytes(self) -> int:
        """Bytes of their keys and values. Before ``finish``, includes what is in flight."""
        return self._produced_bytes - self._failed_bytes

    def write(self, partition: int | None, record: Record) -> None:
        """Queue one message; without a partition, its key decides. Blocks while the queue is full.

        Key, value, headers and timestamp are unchanged; a message without a timestamp gets the
        current time. Raises ``failure``.
        """
        while True:
            if self.failure is not None:
                raise self.failure
            try:
                self._producer.produce(
                    self._topic,
                    record.value,
                    record.key,
                    -1 if partition is None else partition,
                    timestamp=record.timestamp_ms or 0,
                    headers=list(record.headers) if record.headers else None,
                )
            except BufferError:
                self._producer.poll(_POLL_S)
            except KafkaException as error:
                self._fail(error.args[0])
            else:
                self.produced += 1
                self._produced_bytes += record.size
                return

    def poll(self) -> None:
        """Serve callbacks. Never blocks. Raises ``failure``."""
        self._producer.poll(0)
        if self.failure is not None:
            raise self.failure

    def finish(self, timeout_s: float) -> None:
        """Block until everything queued is acknowledged. Raises ``failure``."""
        deadline = monotonic() + timeout_s
        while len(self._producer) and self.failure is None and monotonic() < deadline:
            self._producer.flush(_POLL_S)
        if len(self._producer):
            if self.failure is None:
                self._fail(KafkaError(KafkaError._TIMED_OUT))
            # Messages behind the one that was refused must not be sent.
            self._producer.purge()
            deadline = monotonic() + _PURGE_S
            while len(self._producer) and monotonic() < deadline:
                self._producer.flush(_POLL_S)
        if self.failure is not None:
            raise self.failure

    def _not_delivered(self, error: KafkaError | None, message: KafkaMessage) -> None:
        if error is not None:
            self._failed += 1
            self._failed_bytes += len(message.value() or b"") + len(message.key() or b"")
            self._fail(error)

    def _fail(self, error: KafkaError) -> None:
        if self.failure is not None and not self._is_consequence:
            return
        code = error.code()
        if self.failure is None or code not in _CONSEQUENCES:
            self._is_consequence = code in _CONSEQUENCES
            kind = KafkaUnreachable if code in _UNREACHABLE else UndeliverableMessage
            remedy = f" ({_REMEDIES[code]})" if code in _REMEDIES else ""
            self.failure = kind(f"topic {self._topic!r} refused a message: {error.str()}{remedy}")
