"""Play rows: those that mostly wait one by one in a process of their own, beside the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context

from tests.chaos import table
from tests.chaos.rows import Result, Row, run
from tests.support.kafka_broker import KafkaBroker


def play_all(rows: Sequence[Row], *, seed: int, scale: float) -> list[Result]:
    """Play the rows; the results are in their order."""
    waiting = [each.name for each in rows if each.mostly_waits]
    others = [each.name for each in rows if not each.mostly_waits]
    if not (waiting and others):
        return _play([each.name for each in rows], seed, scale)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        beside = process.submit(_play, waiting, seed, scale)
        results = [*_play(others, seed, scale), *beside.result()]
    names = [each.name for each in rows]
    return sorted(results, key=lambda result: names.index(result.row.name))


def _play(names: Sequence[str], seed: int, scale: float) -> list[Result]:
    """Play rows one by one, with a broker of their own."""
    results = []
    with closing(KafkaBroker()) as kafka:
        kafka.start()
        for each in table.chosen(names):
            _say(f"… {each.name}, seed {seed}: {each.promise}")
            result = run(each, kafka, seed=seed, scale=scale)
            results.append(result)
            state = "holds" if result.holds else "BROKEN"
            lines = [f"  {each.name} {state}, {result.seconds:.0f} s; {_figures(result)}"]
            _say("\n    ".join([*lines, *result.problems]))
    return results


def _say(text: str) -> None:
    # In one piece: another process writes, too.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _figures(result: Result) -> str:
    return (
        f"{result.messages:,} messages, {result.faults} faults, {result.lost} lost, "
        f"{result.duplicates:,} twice (bound {result.bound:,}), {result.dead_letters} dead letters"
    )
