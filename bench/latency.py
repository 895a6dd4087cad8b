"""Measure the time from producing a message to its acceptance, at a steady rate."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgpack
from confluent_kafka import Producer

from bench import backlog
from bench.contenders import Ground, start_consumer_fleet
from bench.upstream import Sink

_RATE_PER_S = 1000
_WARM_UP_S = 2
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Latency:
    """In milliseconds, over all messages after the warm-up."""

    p50: float
    p99: float


def measure(ground: Ground, seconds: int, workers: int) -> Latency:
    """Produce 1,000 messages a second for so long, with a consumer that waits for them."""
    topic = ground.kafka.create_topic(f"latency-{time.time_ns()}", backlog.PARTITIONS)
    producer = Producer(ground.kafka.client_config(linger_ms=0))
    values = list(backlog.messages(_RATE_PER_S * (seconds + _WARM_UP_S)))
    produced: dict[str, int] = {}
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
            producer.produce(topic, value, partition=number % backlog.PARTITIONS)
            producer.poll(0)
        producer.flush(_TIMEOUT_S)
        consumer.wait_until(
            lambda: sink.stats().distinct == len(values), "all messages", _TIMEOUT_S
        )
        accepted = sink.times()
    measured = list(produced)[_RATE_PER_S * _WARM_UP_S :]
    return percentiles([(accepted[each] - produced[each]) / 1e6 for each in measured])


def percentiles(latencies_ms: Sequence[float]) -> Latency:
    """Return the median and the 99th percentile."""
    cuts = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    return Latency(p50=cuts[49], p99=cuts[98])
