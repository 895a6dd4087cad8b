"""Health means progress per assigned partition, and a known cause is no stall."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from arroyo.types import Partition

from consumer_fleet.run import health
from consumer_fleet.run.health import Heartbeat, ProgressWatch, waiting
from tests.support.clock import ManualClock
from tests.support.records import partition


def test_a_partition_with_lag_that_does_not_move_is_stalled() -> None:
    clock = ManualClock()
    watch = ProgressWatch(10.0, clock)
    lag, settled = {partition(0): 5, partition(1): 5}, {partition(0): 1, partition(1): 1}
    assert watch.stalled(lag, settled) == []
    clock.now = 11.0
    assert watch.stalled(lag, {partition(0): 1, partition(1): 2}) == ["events/0"]


class Delivering:
    """A consumer that settles everything and whose commits are all refused."""

    def __init__(self) -> None:
        self.offset = 1

    def settled(self) -> dict[Partition, int]:
        self.offset += 1
        return {partition(): self.offset}

    def committed(self) -> dict[Partition, int]:
        return {partition(): 1}


def test_a_partition_that_delivers_but_commits_nothing_is_stalled() -> None:
    clock = ManualClock()
    watch = ProgressWatch(10.0, clock)
    consumer = Delivering()
    for clock.now in (0.0, 9.0):
        assert watch.stalled(*waiting(consumer, {partition(): 0})) == []  # type: ignore[arg-type]  # a stand-in
    clock.now = 11.0
    assert watch.stalled(*waiting(consumer, {partition(): 0})) == ["events/0"]  # type: ignore[arg-type]  # a stand-in


def test_a_partition_without_lag_is_never_stalled() -> None:
    clock = ManualClock()
    watch = ProgressWatch(10.0, clock)
    for clock.now in (0.0, 100.0):
        assert watch.stalled({partition(): 0}, {partition(): 1}) == []


def test_lag_that_arrives_after_a_quiet_time_has_the_whole_time() -> None:
    clock = ManualClock()
    watch = ProgressWatch(10.0, clock)
    watch.stalled({partition(): 0}, {partition(): 1})
    clock.now = 100.0
    watch.stalled({partition(): 0}, {partition(): 1})
    clock.now = 105.0
    assert watch.stalled({partition(): 3}, {partition(): 1}) == []
    clock.now = 111.0
    assert watch.stalled({partition(): 3}, {partition(): 1}) == ["events/0"]


def test_time_with_a_known_cause_does_not_count() -> None:
    clock = ManualClock()
    watch = ProgressWatch(10.0, clock)
    watch.stalled({partition(): 5}, {partition(): 1})
    clock.now = 60.0
    watch.excuse([partition()])
    assert watch.stalled({partition(): 5}, {partition(): 1}) == []


def test_a_known_cause_of_one_partition_hides_no_stall_of_another() -> None:
    clock = ManualClock()
    watch = ProgressWatch(10.0, clock)
    lag, settled = {partition(0): 5, partition(1): 5}, {partition(0): 1, partition(1): 1}
    for clock.now in (0.0, 6.0):
        watch.excuse([partition(0), partition(7)])
        assert watch.stalled(lag, settled) == []
    clock.now = 12.0
    watch.excuse([partition(0)])
    assert watch.stalled(lag, settled) == ["events/1"]


def test_a_standby_without_partitions_beats(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    Heartbeat(path, ManualClock()).beat(ProgressWatch(10.0).stalled({}, {}))
    assert path.exists()


def test_the_file_is_left_alone_while_something_is_stalled(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    heartbeat = Heartbeat(path, ManualClock())
    heartbeat.beat(["events/0"])
    assert not path.exists()
    heartbeat.beat([])
    assert path.exists()


def test_a_path_that_can_not_be_written_does_not_end_the_run(tmp_path: Path) -> None:
    Heartbeat(tmp_path / "missing" / "alive", ManualClock()).beat([])


def test_the_file_names_what_stalls_and_stays_as_old_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "health"
    clock = ManualClock(10.0)
    heartbeat = Heartbeat(path, clock)
    heartbeat.beat(["events/0"])
    assert not path.exists(), "a probe would take it for a sign of life"
    heartbeat.beat([])
    os.utime(path, (1_000, 1_000))
    heartbeat.beat(["events/0", "transactions/3"])
    assert path.read_text() == "stalled: events/0\nstalled: transactions/3\n"
    assert path.stat().st_mtime == 1_000
    clock.now = 20.0
    heartbeat.beat([])
    assert path.read_text() == ""
    assert path.stat().st_mtime > 1_000


def test_the_file_looks_as_old_at_every_moment_and_has_the_names_before_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "health"
    path.touch()
    os.utime(path, (1_000, 1_000))
    seen: list[tuple[float, str]] = []

    def look(*_: object, **__: object) -> None:
        seen.append((path.stat().st_mtime, path.read_text()))

    set_time = os.utime

    def look_and_set_time(*arguments: Any, **named: Any) -> None:
        look()
        set_time(*arguments, **named)

    monkeypatch.setattr(os, "utime", look_and_set_time)
    monkeypatch.setattr(health.log, "error", look)
    Heartbeat(path, ManualClock()).beat(["events/0"])
    assert seen == [(1_000, ""), (1_000, "stalled: events/0\n")]
    assert list(tmp_path.iterdir()) == [path]
