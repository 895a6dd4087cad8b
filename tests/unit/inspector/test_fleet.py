"""The fleet view's history, and the trend that tells lag that grows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer_fleet.inspector.fleet import (
    BUCKET_S,
    SERIES,
    ConsumerView,
    DestinationView,
    FleetBoard,
    FleetView,
    LagTrend,
    Severity,
)


def view(at_s: float, *, severity: Severity = 0, lag: int = 0, delivered: int = 0) -> FleetView:
    destination = DestinationView("upstream", "open", severity, None, delivered, 0, 0)
    consumer = ConsumerView(
        *("events", "events", "group", "idle", 0, ()),
        lag=lag,
        rate=0.0,
        delivered=7,
        destinations=(destination,),
    )
    return FleetView(at_s, (consumer,))


def figure(board: FleetBoard, name: str) -> list[float | None]:
    key = "group/events/upstream"
    return [sample.rows[key][SERIES.index(name)] for sample in board.history()]


def test_the_history_has_the_last_figures_of_each_bucket_and_its_worst_state() -> None:
    board = FleetBoard()
    board.publish(view(0, severity=2, lag=9, delivered=1))
    board.publish(view(BUCKET_S - 1, lag=5, delivered=2))
    board.publish(view(BUCKET_S, lag=3, delivered=4))
    assert figure(board, "lag") == [5, 3]
    assert figure(board, "delivered") == [2, 4]
    assert figure(board, "severity") == [2, 0]
    assert board.latest is not None
    assert board.latest.number == 3


def test_consumers_that_share_a_destination_have_the_counts_of_their_own_messages() -> None:
    board = FleetBoard()
    (events,) = view(0, delivered=100).consumers
    board.publish(FleetView(0, (events, replace(events, name="other", group="other"))))
    assert figure(board, "delivered") == [7]


def test_the_history_is_of_one_hour() -> None:
    board = FleetBoard()
    for number in range(400):
        board.publish(view(number * BUCKET_S))
    assert len(board.history()) * BUCKET_S == 3600


def test_a_row_without_destinations_has_the_consumers_own_figures() -> None:
    board = FleetBoard()
    consumer = ConsumerView(*("events", "events", "group", "idle", 1, ()), lag=1, rate=None)
    board.publish(FleetView(0, (consumer,)))
    (sample,) = board.history()
    (row,) = sample.rows.values()
    assert dict(zip(SERIES, row, strict=True)) == {
        **dict.fromkeys(SERIES), "lag": 1, "severity": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lags", "rate", "grows"),
    [
        ([0, 100, 200], 0.0, True),
        ([0, 100, 90, 200], 50.0, True),  # fewer for a moment
        ([0, 100], 0.0, False),  # once, as whenever messages arrive
        ([0, 500, 100, 200], 0.0, False),  # it falls
        ([0, 0, 500], 0.0, False),
        ([0, 100, 200], 500.0, False),  # less than a second's work
        ([200, 200, 200], 0.0, False),
        ([0, 1, 2, 3], 0.0, False),
    ],
)
def test_lag_grows_if_it_is_more_than_before_and_a_second_does_not_end_it(
    lags: list[int], rate: float, *, grows: bool
) -> None:
    trend = LagTrend()
    for at_s, lag in enumerate(lags):
        arriving = trend.note(at_s, lag, rate)
    assert (arriving is not None) == grows


def test_what_arrives_is_what_is_settled_and_what_the_lag_grows_by() -> None:
    trend = LagTrend()
    for at_s in range(5):
        arriving = trend.note(at_s, 300 * at_s, 50.0)
    assert arriving == 350.0
