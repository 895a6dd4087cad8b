"""Measure the time from producing a message to its acceptance, at a steady rate.

Also the part of it that passes before Kafka has acknowledged the message, which tells a slow broker
from a slow consumer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgpack
from confluent_kafka import KafkaError, Message, Producer

from bench import backlog
from bench.contenders import Ground, start_consumer_fleet
from bench.upstream import Sink

_RATE_PER_S = 1000
# A broker compiles what it has done some thousand times: it takes 0.9 ms of CPU for each of the
# first messages, and 0.3 then.
_WARM_UP_S = 10
_TIMEOUT_S = 30.0
SLOW_MS = 5.0

DeliveryReport: TypeAlias = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds, over all messages after the warm-up; ``acknowledged`` are the same figures
    of Kafka's acknowledgement.

    ``slow`` messages took longer than ``SLOW_MS``. Of ``slow_at_kafka``, most of that time had
    passed when Kafka acknowledged them.
    """

    p50: float
    p99: float
    acknowledged_p50: float
    acknowledged_p99: float
    slow: int
    slow_at_kafka: int


def measure(ground: Ground, seconds: int, workers: int) -> Latency:
    """Produce 1,000 messages a second for so long, with a consumer that waits for them."""
    topic = ground.kafka.create_topic(f"latency-{time.time_ns()}", backlog.PARTITIONS)
    producer = Producer(ground.kafka.client_config(linger_ms=0))
    values = list(backlog.messages(_RATE_PER_S * (seconds + _WARM_UP_S)))
    produced: dict[str, int] = {}
    acknowledged: dict[str, int] = {}

    def acknowledge(event_id: str) -> DeliveryReport:
        def note(_error: KafkaError | None, _message: Message) -> None:
            acknowledged[event_id] = time.time_ns()

        return note

    with (
        Sink(ground.folder, "-ids") as sink,
        start_consumer_fleet(replace(ground, sink=sink), topic, workers) as consumer,
    ):
        consumer.wait_for("partitions_assigned")
        began = time.monotonic()
        for number, value in enumerate(values):
            event_id = msgpack.unpackb(value)["event_id"]
            while (early := began + number / _RATE_PER_S - time.monotonic()) > 0:
                time.sleep(early)
            produced[event_id] = time.time_ns()
            partition = number % backlog.PARTITIONS
            producer.produce(topic, value, partition=partition, on_delivery=acknowledge(event_id))
            producer.poll(0)
        producer.flush(_TIMEOUT_S)
        consumer.wait_until(
            lambda: sink.stats().distinct == len(values), "all messages", _TIMEOUT_S
        )
        accepted = sink.times()
    measured = list(produced)[_RATE_PER_S * _WARM_UP_S :]
    return summary(
        [(accepted[each] - produced[each]) / 1e6 for each in measured],
        [(acknowledged[each] - produced[each]) / 1e6 for each in measured],
    )


def summary(latencies_ms: Sequence[float], acknowledged_ms: Sequence[float]) -> Latency:
    """Summarise the times of each message: until its acceptance, and until Kafka's answer."""
    slow = [each for each in zip(latencies_ms, acknowledged_ms, strict=True) if each[0] > SLOW_MS]
    return Latency(
        *percentiles(latencies_ms),
        *percentiles(acknowledged_ms),
        slow=len(slow),
        slow_at_kafka=sum(at_kafka > whole / 2 for whole, at_kafka in slow),
    )


def percentiles(times_ms: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(times_ms, n=100, method="inclusive")
    return cuts[49], cuts[98]
