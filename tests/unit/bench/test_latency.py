"""Percentiles of latencies, and the part of them that Kafka takes."""

from __future__ import annotations

from bench.latency import summary


def test_percentiles_are_those_of_all_messages() -> None:
    times = [float(number) for number in range(1, 102)]
    found = summary(times, [time / 10 for time in times])
    assert (found.p50, found.p99) == (51, 100)
    assert (found.acknowledged_p50, found.acknowledged_p99) == (5.1, 10)


def test_a_message_is_slow_at_kafka_if_most_of_its_time_passed_there() -> None:
    found = summary([1.0, 4.9, 20.0, 30.0, 6.0], [0.9, 4.8, 18.0, 2.0, 3.1])
    assert (found.slow, found.slow_at_kafka) == (3, 2)
