"""The rows of ``make chaos``, and the result of one."""

from __future__ import annotations

import inspect
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias

from tests.chaos.stage import Stage
from tests.support.kafka_topics import KafkaTopics

Play: TypeAlias = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One promise and the faults that try it. ``family`` is the name of its module. One that
    ``mostly_waits`` leaves the processor to others.
    """

    name: str
    family: str
    promise: str
    bound: str
    play: Play
    mostly_waits: bool

    def matches(self, wanted: str) -> bool:
        return wanted in (self.name, self.family)


@dataclass(slots=True)
class Result:
    """How a row ended."""

    row: Row
    seed: int
    messages: int = 0
    faults: int = 0
    lost: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    bound: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.problems and self.lost == 0 and self.duplicates <= self.bound


ROWS: dict[str, Row] = {}


def row(play: Play) -> Play:
    """Register a row. Its docstring starts with the promise, and has a line ``Bound: …``."""
    return _register(play, mostly_waits=False)


def waiting_row(play: Play) -> Play:
    """Register a row that waits for most of its time: another one is played beside it."""
    return _register(play, mostly_waits=True)


def _register(play: Play, *, mostly_waits: bool) -> Play:
    promise, *rest = inspect.getdoc(play).splitlines()  # type: ignore[union-attr]
    (bound,) = (line.removeprefix("Bound: ") for line in rest if line.startswith("Bound: "))
    name = play.__name__.replace("_", "-")
    family = play.__module__.rpartition(".")[2].replace("_", "-")
    ROWS[name] = Row(name, family, promise, bound, play, mostly_waits)
    return play


def run(row: Row, kafka: KafkaTopics, *, seed: int, scale: float) -> Result:
    """Play a row and judge it. An error of the row itself is a problem, not an exception."""
    result = Result(row, seed)
    started = time.monotonic()
    folder = Path(mkdtemp(prefix=f"chaos-{row.name}-"))
    with Stage(kafka, folder, seed=seed, scale=scale) as stage:
        for act in (row.play, lambda stage: _judge(stage, result)):
            try:
                act(stage)
            except Exception as error:
                result.problems.append("".join(traceback.format_exception(error)).rstrip())
        result.bound = stage.bound
        result.faults = stage.faults.total()
    result.seconds = time.monotonic() - started
    if result.holds:
        shutil.rmtree(folder)
    else:
        result.problems.append(f"the logs are in {folder}")
    return result


def _judge(stage: Stage, result: Result) -> None:
    oracle = stage.judge
    oracle.look()
    if not oracle.looks:
        result.problems.append("the oracle has not seen the group's commits")
    lost = oracle.lost()
    result.messages = oracle.ledger.messages
    result.lost = len(lost)
    result.dead_letters = len(oracle.ledger.dead)
    result.duplicates = sum(receiver.duplicates for receiver in stage.receivers)
    result.duplicates += oracle.ledger.dead.total() - result.dead_letters
    result.problems += oracle.problems
    if lost:
        result.problems.append(f"lost: {', '.join(f'{p}@{o}' for p, o in lost[:5])}")
    if result.dead_letters not in stage.dead_letters_expected:
        expected = f"{stage.dead_letters_expected.start} to {stage.dead_letters_expected.stop - 1}"
        result.problems.append(f"{result.dead_letters} dead letters, expected {expected}")
