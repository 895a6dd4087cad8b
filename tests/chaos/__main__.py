"""``make chaos``: break each part on purpose, on real Kafka, and count what is lost or repeated."""

from __future__ import annotations

import argparse
import random
import sys

from tests.chaos import table
from tests.chaos.lanes import play_all
from tests.chaos.rows import ROWS
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
        results = play_all(chosen, seed=given.seed, scale=given.scale)
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


if __name__ == "__main__":
    sys.exit(main())
