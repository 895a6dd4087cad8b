"""Percentiles of latencies."""

from __future__ import annotations

from bench.latency import percentiles


def test_percentiles_are_those_of_all_messages() -> None:
    found = percentiles([float(number) for number in range(1, 102)])
    assert (found.p50, found.p99) == (51, 100)
