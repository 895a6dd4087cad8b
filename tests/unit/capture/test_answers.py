"""A destination's gate, the meaning of its answers, its log lines and its counts."""

from __future__ import annotations

import importlib
import math
import zlib

import pytest
import structlog.testing

from consumer_fleet.capture.answers import TroubleLog, Verdict, describe, judge
from consumer_fleet.capture.compression import choose_compressor
from consumer_fleet.capture.counts import PeriodicCounts
from consumer_fleet.capture.gate import Gate, backoff_s
from consumer_fleet.capture.posts import Answer
from consumer_fleet.errors import ConfigurationError
from tests.support.capturing import CountedMetrics
from tests.support.clock import ManualClock


def closed_gate(clock: ManualClock) -> Gate:
    gate = Gate(clock, lambda: 1.0)
    for _ in range(5):
        gate.failed(is_probe=gate.started())
    return gate


def test_waits_double_up_to_the_cap_and_are_jittered_by_half() -> None:
    assert [backoff_s(n, lambda: 1.0) for n in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert backoff_s(10_000, lambda: 1.0) == 30.0
    assert backoff_s(2, lambda: 0.0) == 0.2


def test_five_failures_in_a_row_close_the_gate() -> None:
    gate = Gate(ManualClock(1000.0), lambda: 1.0)
    assert [gate.failed(is_probe=gate.started()) for _ in range(4)] == [False] * 4
    gate.answered(is_probe=gate.started())  # a success in between restarts the count
    assert [gate.failed(is_probe=gate.started()) for _ in range(5)] == [False] * 4 + [True]
    assert gate.state == "backing_off"


def test_one_probe_at_a_time_passes_a_closed_gate() -> None:
    clock = ManualClock(1000.0)
    gate = closed_gate(clock)
    assert gate.next_start() == clock.now + 0.1
    clock.now += 0.1
    assert gate.started()
    assert gate.next_start() == math.inf
    gate.failed(is_probe=True)
    assert gate.next_start() == clock.now + 0.2
    clock.now += 0.2
    assert gate.answered(is_probe=gate.started())
    assert gate.next_start() == -math.inf
    assert gate.state == "open"


def test_answers_from_before_the_trouble_change_nothing() -> None:
    clock = ManualClock(1000.0)
    gate = closed_gate(clock)
    due = gate.next_start()
    for _ in range(60):
        gate.failed(is_probe=False)
        gate.answered(is_probe=False)
    assert gate.state == "backing_off"
    assert gate.next_start() == due


def test_a_server_may_ask_for_a_longer_wait() -> None:
    clock = ManualClock(1000.0)
    gate = Gate(clock, lambda: 1.0)
    for _ in range(5):
        gate.failed(is_probe=False, at_least_s=20.0)
    assert gate.next_start() == clock.now + 20.0


def test_a_refusal_pauses_with_probes_after_one_to_thirty_seconds() -> None:
    clock = ManualClock(1000.0)
    gate = Gate(clock, lambda: 1.0)
    assert gate.refused(is_probe=False)
    assert not gate.refused(is_probe=False)  # the others that were under way
    waits = []
    for _ in range(7):
        waits.append(gate.next_start() - clock.now)
        clock.now = gate.next_start()
        assert gate.started()
        assert not gate.refused(is_probe=True)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert gate.state == "paused"


def test_a_refusal_during_an_outage_pauses() -> None:
    clock = ManualClock(1000.0)
    gate = closed_gate(clock)
    clock.now = gate.next_start()
    assert gate.refused(is_probe=gate.started())
    assert gate.state == "paused"
    assert gate.next_start() == clock.now + 1.0


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([200, 201, 202, 204], Verdict.ACCEPTED),
        ([0, 408, 425, 500, 502, 503, 504, 599, 100, 600], Verdict.LATER),
        ([429], Verdict.LIMITED),
        ([300, 301, 302, 304, 307, 308, 401, 403, 404, 405, 407], Verdict.REFUSED),
        ([400, 402, 406, 409, 410, 411, 413, 414, 415, 418, 422, 431, 451, 499], Verdict.REJECTED),
    ],
)
def test_every_status_has_one_verdict(statuses: list[int], verdict: Verdict) -> None:
    assert {judge(status) for status in statuses} == {verdict}


def test_an_answer_is_described_in_one_short_line_without_keys() -> None:
    assert describe(Answer(400, body=b" a\n\n b\xff key"), ("key",)) == "a b\ufffd ***"
    assert describe(Answer(400), ()) == "(empty answer)"
    assert len(describe(Answer(400, body=b"x" * 10_000), ())) == 301
    assert describe(Answer(0, error="refused"), ()) == "refused"


def test_a_pause_is_loud_at_once_and_again_each_minute() -> None:
    clock = ManualClock(1000.0)
    trouble = TroubleLog("upstream", "https://***@h/1", clock)
    with structlog.testing.capture_logs() as logs:
        trouble.remind()
        trouble.paused(401, "denied", "check the key")
        for _ in range(125):
            clock.now += 1.0
            trouble.remind()
        trouble.resumed()
        clock.now += 200.0
        trouble.remind()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("destination_paused", "error"),
        ("destination_still_paused", "error"),
        ("destination_still_paused", "error"),
        ("destination_resumed", "warning"),
    ]
    assert logs[0]["status"] == logs[1]["status"] == 401
    assert logs[0]["dsn"] == "https://***@h/1"
    assert logs[0]["what_to_do"] == "check the key"


def test_drops_are_logged_once_a_minute_with_their_number() -> None:
    clock = ManualClock(1000.0)
    trouble = TroubleLog("saas", "", clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(121):
            trouble.dropped("over_budget")
            clock.now += 0.5
    assert [entry["count"] for entry in logs] == [1, 120]


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


def test_auto_compresses_what_leaves_over_https() -> None:
    assert choose_compressor("auto", "http").encoding is None
    chosen = choose_compressor("auto", "https")
    assert chosen.encoding == "gzip"
    assert zlib.decompress(chosen.compress(b"x" * 1000), wbits=31) == b"x" * 1000


def test_a_missing_package_is_named_by_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigurationError, match=r"pip install 'consumer-fleet\[br\]'"):
        choose_compressor("br", "http")
