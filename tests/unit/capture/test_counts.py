"""Counts on their way to the metrics."""

from __future__ import annotations

from consumer_fleet.capture.counts import PeriodicCounts
from tests.support.capturing import CountedMetrics
from tests.support.clock import ManualClock


def test_counts_reach_the_metrics_once_a_second() -> None:
    clock = ManualClock(1000.0)
    metrics = CountedMetrics()
    tally = PeriodicCounts(metrics.incr, clock)
    for _ in range(3):
        tally.add("k", {"destination": "a"})
    tally.report_if_due(clock.now + 0.9)
    assert metrics.total("k") == 0
    tally.report_if_due(clock.now + 1.0)
    tally.report()
    assert metrics.total("k", destination="a") == 3
