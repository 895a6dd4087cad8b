"""The progress of a recording or a replay: a bar of one line on a terminal, else a log line."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from consumer_fleet.run.progress import TransferProgress
from tests.support.clock import ManualClock


@pytest.mark.parametrize("total", [10**12, None])
def test_the_bar_fits_80_columns_with_large_figures(total: int | None) -> None:
    clock, output = ManualClock(1000.0), io.StringIO()
    console = Console(file=output, force_terminal=True, width=80, color_system=None)
    with TransferProgress("record", total, console, live=True, clock=clock) as progress:
        clock.now += 86_400
        progress.show(5 * 10**11, 123_456_789_012, 987_654_321_000)
    shown = [line.strip() for line in output.getvalue().replace("\r", "\n").split("\n")]
    (line,) = {each for each in shown if "msgs" in each}
    assert "123,456,789,012 msgs" in line
    assert "987.7 GB" in line
    assert ("50%" in line) is (total is not None)


def test_without_a_terminal_there_is_a_log_line_every_ten_seconds() -> None:
    clock = ManualClock(1000.0)
    with (
        capture_logs() as logs,
        TransferProgress("replay", 200, Console(), live=False, clock=clock) as progress,
    ):
        for second in range(25):
            clock.now = 1000.0 + second
            progress.show(second, second * 10, second * 1000)
    assert [(each["event"], each["action"], each["messages"]) for each in logs] == [
        ("transfer_progress", "replay", 100),
        ("transfer_progress", "replay", 200),
    ]
    assert logs[1]["rate"] == 10
    assert logs[1]["percent"] == 10.0
