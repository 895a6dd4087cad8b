"""A collapse of speed is noticed: each figure is a ratio within one run, so load hardly moves it.

The figures are those of docs/performance.md; only half of one fails.
"""

from __future__ import annotations

import statistics

import pytest

from bench import deliver, transform

TIMES_ARROYOS_STEP = 15
TIMES_A_BARE_LOOP = 1.2

pytestmark = pytest.mark.timed


def test_the_worker_step_is_many_times_as_fast_as_arroyos() -> None:
    rounds = transform.measure(messages=12_000, runs=3)
    ratio = statistics.median(ours / arroyos for ours, arroyos in rounds)
    assert ratio > TIMES_ARROYOS_STEP / 2


def test_a_delivery_takes_hardly_more_cpu_than_its_request_alone() -> None:
    arguments = deliver.parse(["--posts", "socket", "--envelopes", "10000", "--runs", "3"])
    with deliver.running_sink() as port:
        rounds = deliver.compare(port, arguments)
    ratio = statistics.median(each["socket"] / each["bare"] for each in rounds)
    assert ratio < TIMES_A_BARE_LOOP * 2
