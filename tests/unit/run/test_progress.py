"""The progress of a run: a line that fits, figures that are right, a summary."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.run.progress import Figures, Progress
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.work import PoolShare
from tests.support.clock import ManualClock


class HandPool(WorkerPool):
    """A pool whose counts the test sets."""

    def __init__(self) -> None:
        self._shares = [PoolShare(self)]
        self.restarts = 0
        self.known: list[DestinationStatus] = []

    def statuses(self) -> list[DestinationStatus]:
        return self.known


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    made = ManualClock(1000.0)
    monkeypatch.setattr("consumer_fleet.run.progress.monotonic", made)
    return made


@pytest.fixture
def pool() -> HandPool:
    return HandPool()


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


def make(screen: io.StringIO, *, live: bool = False) -> Progress:
    console = Console(file=screen, force_terminal=live, width=80)
    return Progress(console, live=live)


def status(name: str, state: str = "open", reason: str = "") -> DestinationStatus:
    return DestinationStatus(name, state, 100, 3, 2, 1, reason)  # type: ignore[arg-type]  # a literal


@pytest.mark.parametrize("figure", [0, 9, 1_000, 9_999, 123_456_789, 999_999_999_999])
def test_the_line_fits_a_terminal_whatever_the_figures(figure: int) -> None:
    figures = Figures(figure, figure, figure, figure, figure, float(figure))
    assert len(figures.line()) <= 80


def test_the_line_names_every_figure() -> None:
    figures = Figures(
        delivered=1_341, filtered=62, dead_lettered=5, retried=0, lag=608, rate=1_367.4
    )
    assert figures.line() == (
        "1,367/s  lag 608  delivered 1,341  filtered 62  retried 0  dead-lettered 5"
    )


@pytest.mark.parametrize("figure", [0, 9_999, 123_456_789, 999_999_999_999])
def test_a_bar_shows_the_share_done_and_the_line_still_fits(figure: int) -> None:
    figures = Figures(figure, figure, figure, figure, figure, float(figure), rejected_as="rejected")
    for share, bar in ((0.0, "──────────   0%"), (0.999, "━━━━━━━━━─  99%"), (1.0, "━" * 10)):
        figures.share = share
        assert figures.line().startswith(bar)
        assert len(figures.line()) <= 80


def test_large_figures_are_rounded_to_the_unit_that_they_reach() -> None:
    figures = Figures(
        delivered=999_600_000,
        filtered=9_960_000,
        dead_lettered=333,
        retried=999_499,
        lag=55_555_555,
        rate=123_456,
    )
    assert figures.line() == (
        "123k/s lag 56M delivered 1.0G filtered 10M retried 999k dead-lettered 333"
    )


def test_the_rate_counts_all_settled_messages_since_the_last_reading(
    pool: HandPool, screen: io.StringIO, clock: ManualClock
) -> None:
    progress = make(screen)
    clock.now += 2.0
    pool.outcomes.delivered = 100
    pool.outcomes.filtered = Counter(tombstone=6)
    pool.outcomes.rejected = Counter(invalid_json=4)
    assert progress.figures(pool, 0).rate == 55.0
    clock.now += 1.0
    pool.outcomes.delivered += 7
    assert progress.figures(pool, 0).rate == 7.0
    clock.now += 1.0
    assert progress.figures(pool, 0).rate == 0.0


def test_two_readings_at_the_same_time_do_not_divide_by_zero(
    pool: HandPool, screen: io.StringIO, clock: ManualClock
) -> None:
    progress = make(screen)
    progress.figures(pool, 0)
    assert progress.figures(pool, 0).rate == 0.0
    assert clock.now == 1000.0


def test_the_figures_add_up_over_destinations(pool: HandPool, screen: io.StringIO) -> None:
    pool.known = [status("upstream"), status("saas", "paused", "HTTP 401")]
    pool.outcomes.rejected = Counter(invalid_json=4, http_400=1)
    figures = make(screen).figures(pool, 12)
    assert (figures.lag, figures.retried) == (12, 6)
    assert figures.dead_lettered == 5
    assert [each.name for each in figures.trouble] == ["saas"]


def test_without_a_terminal_a_line_is_logged_every_ten_seconds(
    pool: HandPool, screen: io.StringIO, clock: ManualClock
) -> None:
    progress = make(screen)
    pool.known = [status("saas", "paused", "HTTP 401")]
    with capture_logs() as logs:
        for _ in range(25):
            clock.now += 1.0
            progress.show(pool, 3)
    assert [entry["event"] for entry in logs] == ["progress"] * 2
    assert logs[0]["lag"] == 3
    assert logs[0]["not_open"] == {"saas": "paused"}
    assert screen.getvalue() == ""


def test_a_terminal_shows_one_line_that_names_each_destination_in_trouble(
    pool: HandPool, screen: io.StringIO
) -> None:
    pool.known = [status("upstream"), status("saas", "paused", "HTTP 401 [wrong] key")]
    with make(screen, live=True) as progress, capture_logs() as logs:
        progress.show(pool, 12_345)
    assert "lag 12,345" in screen.getvalue()
    assert "saas paused" in screen.getvalue()
    assert "upstream" not in screen.getvalue()
    assert logs == []


def test_the_summary_is_on_standard_output_and_in_the_log(
    pool: HandPool, screen: io.StringIO, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = make(screen)
    clock.now += 1234.56
    pool.outcomes.delivered = 1_234_567
    pool.outcomes.filtered = Counter(tombstone=2, on_purpose=1_000)
    pool.outcomes.rejected = Counter(http_400=3, bad_json=3, alone=1)
    pool.known = [status("upstream"), status("saas")]
    pool.restarts = 4
    with capture_logs() as logs:
        progress.summarise(pool)
    assert capsys.readouterr().out.strip() == (
        "delivered 1,234,567, filtered 1,002 (on_purpose 1,000, tombstone 2), "
        "dead-lettered 7 (bad_json 3, http_400 3, alone 1) in 1,234.6 s"
    )
    (summary,) = logs
    assert summary["event"] == "summary"
    assert summary["delivered"] == 1_234_567
    assert summary["filtered"] == {"on_purpose": 1000, "tombstone": 2}
    assert summary["dead_lettered"] == {"alone": 1, "bad_json": 3, "http_400": 3}
    assert summary["accepted"] == {"upstream": 100, "saas": 100}
    assert (summary["retried"], summary["dropped"], summary["workers_restarted"]) == (6, 4, 4)


def test_a_run_without_messages_has_a_summary_too(
    pool: HandPool, screen: io.StringIO, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = make(screen)
    clock.now += 0.5
    progress.summarise(pool)
    assert "delivered 0, filtered 0, dead-lettered 0 in 0.5 s" in capsys.readouterr().out


def test_an_unknown_lag_is_not_shown() -> None:
    assert "lag" not in Figures(lag=None, delivered=3).line()
    assert "rejected 2" in Figures(dead_lettered=2, rejected_as="rejected").line()
