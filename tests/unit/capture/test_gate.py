"""A destination's gate: when it may be sent to."""

from __future__ import annotations

import math
from collections import deque

import pytest

from consumer_fleet.capture.envelope import build
from consumer_fleet.capture.gate import Gate, Parcel, backoff_s, take_probe
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


def test_a_pause_that_is_asked_for_lasts_that_long_whatever_is_answered_meanwhile() -> None:
    clock = ManualClock(1000.0)
    gate = Gate(clock, lambda: 1.0)
    under_way = gate.started()
    assert gate.refused(is_probe=False, at_least_s=60.0)
    assert not gate.answered(is_probe=under_way)
    assert (gate.state, gate.next_start()) == ("paused", clock.now + 60.0)
    assert not gate.refused(is_probe=False, at_least_s=60.0)  # nor is it lengthened
    clock.now += 60.0
    assert gate.answered(is_probe=gate.started())
    assert gate.state == "open"


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


def test_a_probe_that_brings_no_news_lengthens_no_wait() -> None:
    clock = ManualClock(1000.0)
    gate = closed_gate(clock)
    clock.now += 0.1
    gate.no_news(is_probe=gate.started())
    assert gate.next_start() <= clock.now, "the next one may probe at once"
    gate.failed(is_probe=gate.started())
    assert gate.next_start() == clock.now + 0.2


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
    ("failures", "is_own"),
    [
        ([("HTTP 500: a", 1), ("HTTP 500: b", 2)], True),
        # Nothing else was accepted in between: the destination may be away.
        ([("HTTP 500: a", 1), ("HTTP 500: a", 1)], False),
        # It failed, others passed, and then the destination went away.
        ([("HTTP 500: a", 1), ("connection refused", 2)], False),
        ([("HTTP 500: a", 1), ("HTTP 500: a", 2), ("connection refused", 2)], False),
        ([("HTTP 500: a", 1), ("HTTP 500: a", 2), ("HTTP 503: b", 2), ("HTTP 500: c", 2)], True),
    ],
)
def test_a_failure_is_an_envelopes_own_if_others_were_accepted_between_two_of_its_kind(
    failures: list[tuple[str, int]], is_own: bool
) -> None:
    parcel = make_parcel()
    *_, last = [parcel.failed(answer, accepted) for answer, accepted in failures]
    assert last is is_own


def test_the_newest_envelope_that_has_not_failed_probes() -> None:
    failed, old, new, failed_again = parcels = [make_parcel() for _ in range(4)]
    failed.attempts, failed_again.attempts = 1, 2
    ready = deque(parcels)
    assert [take_probe(ready) for _ in range(4)] == [new, old, failed, failed_again]


def make_parcel() -> Parcel:
    return Parcel(build("a" * 32, []), None, 0, 0)  # type: ignore[arg-type]  # nobody waits for it
