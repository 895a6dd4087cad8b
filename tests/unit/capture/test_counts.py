"""Counts on their way to the metrics."""

from __future__ import annotations

from consumer_fleet.capture.counts import DestinationStatus, PeriodicCounts
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


def test_the_statuses_of_two_processes_add_up_and_the_worse_state_counts() -> None:
    one = DestinationStatus("a", "open", 1, 2, 3, 4, "", keeps_back={"t/0": [1], "t/1": [5]})
    two = DestinationStatus("a", "paused", 10, 20, 30, 40, "HTTP 401", keeps_back={"t/0": [2]})
    merged = one.merged_with(two)
    assert merged == DestinationStatus(
        "a", "paused", 11, 22, 33, 44, "HTTP 401", keeps_back={"t/0": [2, 1], "t/1": [5]}
    )
    assert two.merged_with(one).state == "paused"
    assert two.keeps_back == {"t/0": [2]}
