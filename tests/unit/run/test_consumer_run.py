"""A run to the end of its topic does not wait without limit for what nobody takes."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.errors import DestinationUnavailable
from consumer_fleet.kafka.chunk import CHUNK_MESSAGES
from consumer_fleet.run import consumer_run
from consumer_fleet.run.consumer_run import EndPatience
from tests.support.clock import ManualClock


class Waiting:
    """A run at its end, its pool and its shutdown, in one."""

    def __init__(self) -> None:
        self.awaits_destinations = True
        self.failures: list[Exception] = []
        self.pool = self.shutdown = self
        self.status = DestinationStatus("upstream", "backing_off", 7, 0, 0, 3, "HTTP 503: busy")

    def statuses(self) -> list[DestinationStatus]:
        return [self.status]

    def fail(self, error: Exception) -> None:
        self.failures.append(error)


@pytest.fixture
def run() -> Waiting:
    return Waiting()


def test_a_run_ends_with_the_answer_once_nothing_is_accepted_for_too_long(run: Waiting) -> None:
    clock = ManualClock()
    duty = EndPatience(600.0, clock)
    for clock.now in (0.0, 300.0, 600.0):
        duty(run)  # type: ignore[arg-type]  # a stand-in
    assert run.failures == []
    clock.now = 601.0
    duty(run)  # type: ignore[arg-type]  # a stand-in
    (failure,) = run.failures
    assert isinstance(failure, DestinationUnavailable)
    assert "upstream: HTTP 503: busy" in str(failure)


def test_what_is_accepted_and_what_is_still_to_be_read_begin_the_time_again(run: Waiting) -> None:
    clock = ManualClock()
    duty = EndPatience(600.0, clock)
    for clock.now in (0.0, 500.0, 1000.0, 1500.0):
        run.status = replace(run.status, accepted=run.status.accepted + 1)
        duty(run)  # type: ignore[arg-type]  # a stand-in
    run.awaits_destinations = False
    for clock.now in (2000.0, 3000.0):
        duty(run)  # type: ignore[arg-type]  # a stand-in
    run.awaits_destinations = True
    clock.now = 3500.0
    duty(run)  # type: ignore[arg-type]  # a stand-in
    assert run.failures == []


def test_messages_in_flight_start_no_look_for_cycles_and_the_threshold_is_put_back() -> None:
    before = gc.get_threshold()
    with consumer_run._collecting_seldom():
        assert gc.get_threshold()[0] >= 2 * 3 * 2 * CHUNK_MESSAGES
    assert gc.get_threshold() == before
