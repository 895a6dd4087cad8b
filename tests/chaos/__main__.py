"""``make chaos``: break each part on purpose, on real Kafka, and count what is lost or repeated."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from contextlib import closing

from tests.chaos import (  # noqa: F401 - each registers its rows
    bombs,
    brokers,
    consumers,
    dead_letters,
    destinations,
    network,
    poison,
    rebalances,
    topics,
    workers,
)
from tests.chaos.rows import ROWS, Result, Row, run
from tests.support.kafka_broker import KafkaBroker
from tests.support.requirements import MissingPart

_COLUMNS = ("row", "promise", "messages", "faults", "lost", "twice", "bound", "s", "seed", "")


def main() -> int:
    given = _parse()
    chosen = [each for each in ROWS.values() if not given.rows or _is_wanted(each, given.rows)]
    if not chosen:
        print(f"chaos: no row {' '.join(given.rows)!r}; rows: {', '.join(ROWS)}", file=sys.stderr)
        return 2
    if given.list:
        for each in chosen:
            print(f"{each.name}: {each.promise} At most twice: {each.bound}")
        return 0
    try:
        results = _play(chosen, seed=given.seed, scale=given.scale)
    except MissingPart as missing:
        print(f"chaos: {missing}", file=sys.stderr)
        return 1
    _print_table(results)
    return 0 if all(result.holds for result in results) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("rows", nargs="*", help="rows or families; default all")
    parser.add_argument("--list", action="store_true", help="list the rows, and start nothing")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--scale", type=float, default=1.0, help="factor of messages and faults")
    return parser.parse_args()


def _is_wanted(row: Row, names: Sequence[str]) -> bool:
    return any(row.matches(name) for name in names)


def _play(rows: Sequence[Row], *, seed: int, scale: float) -> list[Result]:
    results = []
    with closing(KafkaBroker()) as kafka:
        kafka.start()
        for each in rows:
            print(f"… {each.name}, seed {seed}: {each.promise}", flush=True)
            result = run(each, kafka, seed=seed, scale=scale)
            results.append(result)
            state = "holds" if result.holds else "BROKEN"
            print(f"  {state}, {result.seconds:.0f} s; {_figures(result)}", flush=True)
            for problem in result.problems:
                print(f"    {problem}", flush=True)
    return results


def _figures(result: Result) -> str:
    return (
        f"{result.messages:,} messages, {result.faults} faults, {result.lost} lost, "
        f"{result.duplicates:,} twice (bound {result.bound:,}), {result.dead_letters} dead letters"
    )


def _print_table(results: Sequence[Result]) -> None:
    lines: list[tuple[str, ...]] = [_COLUMNS]
    for result in results:
        figures = (result.messages, result.faults, result.lost, result.duplicates, result.bound)
        lines.append(
            (
                *(result.row.name, result.row.promise, *(f"{figure:,}" for figure in figures)),
                *(f"{result.seconds:.0f}", str(result.seed)),
                "holds" if result.holds else "**broken**",
            )
        )
    print()
    for number, cells in enumerate(lines):
        print(f"| {' | '.join(cells)} |")
        if number == 0:
            print("|---" * len(cells) + "|")


if __name__ == "__main__":
    sys.exit(main())
