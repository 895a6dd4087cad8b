"""Compare how often two versions repeat messages, by the kind of failure and with the same seeds.

``python -m bench.duplicates --before PROGRAM``: the ``consumer`` of another version, in an
environment of its own, runs beside the one of this environment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from bench import faults
from bench.contenders import Ground, prepared
from bench.faults import Faults, Plan
from tests.support.consumer_process import CONSUMER

_KILLS = 4
# So many times the messages: a worker restarts within the time of 10,000.
_KILLS_FACTOR = 10
_SHARE = 0.2
# By name: the kills, and the kinds of failing requests.
_CASES: Mapping[str, tuple[int, tuple[str, ...]]] = MappingProxyType(
    {
        "4 workers killed": (_KILLS, ()),
        "503": (0, ("503", "503-close")),
        "reset": (0, ("reset",)),
        "lost answer": (0, ("lost", "lost-reset", "cut")),
    }
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.duplicates", description=__doc__)
    parser.add_argument("--before", metavar="PROGRAM", help="the other version's program")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    programs = {"before": given.before, "after": CONSUMER} if given.before else {"after": CONSUMER}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, prepared(Path(name)) as ground:
        for line in _table(ground, programs, given.messages, range(1, given.seeds + 1)):
            print(line, flush=True)
    return 0


def _table(
    ground: Ground, programs: Mapping[str, str], messages: int, seeds: Sequence[int]
) -> Iterator[str]:
    """Yield a Markdown table, line by line."""
    yield "| failure | seed | version | lost | repeated | may be repeated | ambiguous answers |"
    yield "|---|---|---|---|---|---|---|"
    for name, (kills, kinds) in _CASES.items():
        for seed in seeds:
            count = messages if kinds else messages * _KILLS_FACTOR
            plan = Plan(count, kills, _SHARE if kinds else 0.0, seed, kinds)
            for version, program in programs.items():
                found = faults.measure(ground, plan, program)
                yield f"| {name} | {seed} | {version} | {_figures(found)} |"


def _figures(found: Faults) -> str:
    figures = (found.lost, found.duplicates, found.bound, found.ambiguous)
    return " | ".join(f"{figure:,}" for figure in figures)


if __name__ == "__main__":
    sys.exit(main())
