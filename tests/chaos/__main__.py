"""``make chaos``: break each part on purpose, on real Kafka, and count what is lost or repeated.

Rows that mostly wait are played one by one in a process of their own, beside the others.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context

from tests.chaos import table
from tests.chaos.rows import ROWS, Result, Row, run
from tests.support.kafka_broker import KafkaBroker
from tests.support.requirements import MissingPart


def main() -> int:
    given = _parse()
    chosen = table.chosen(given.rows)
    if not chosen:
        print(f"chaos: no row {' '.join(given.rows)!r}; rows: {', '.join(ROWS)}", file=sys.stderr)
        return 2
    if given.list:
        print(table.promises(chosen))
        return 0
    try:
        results = _play_all(chosen, seed=given.seed, scale=given.scale)
    except MissingPart as missing:
        print(f"chaos: {missing}", file=sys.stderr)
        return 1
    print(f"\n{table.results(results)}")
    return 0 if all(result.holds for result in results) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("rows", nargs="*", help="rows or families; default all")
    parser.add_argument("--list", action="store_true", help="print the promises, and start nothing")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--scale", type=float, default=1.0, help="factor of messages and faults")
    return parser.parse_args()


def _play_all(rows: Sequence[Row], *, seed: int, scale: float) -> list[Result]:
    """Play rows, and those that mostly wait beside the others. The results are in their order."""
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
    rows = [each for each in table.chosen([]) if each.name in names]
    results = []
    with closing(KafkaBroker()) as kafka:
        kafka.start()
        for each in rows:
            print(f"… {each.name}, seed {seed}: {each.promise}", flush=True)
            result = run(each, kafka, seed=seed, scale=scale)
            results.append(result)
            state = "holds" if result.holds else "BROKEN"
            lines = [f"  {each.name} {state}, {result.seconds:.0f} s; {_figures(result)}"]
            # In one piece: another process prints, too.
            print("\n    ".join([*lines, *result.problems]), flush=True)
    return results


def _figures(result: Result) -> str:
    return (
        f"{result.messages:,} messages, {result.faults} faults, {result.lost} lost, "
        f"{result.duplicates:,} twice (bound {result.bound:,}), {result.dead_letters} dead letters"
    )


if __name__ == "__main__":
    sys.exit(main())
