"""All rows, and the tables in which people read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos import (  # noqa: F401 - each registers its rows
    bombs,
    brokers,
    consumers,
    dead_letters,
    destinations,
    held,
    network,
    poison,
    rebalances,
    security,
    topics,
    workers,
)
from tests.chaos.rows import ROWS, Result, Row

_RESULT = ("row", "promise", "messages", "faults", "lost", "twice", "bound", "s", "seed", "")
_PROMISE = ("Promise", "Duplicates, at most", "Proof")


def chosen(names: Sequence[str]) -> list[Row]:
    """Return the rows with these names or of these families; all without a name."""
    rows = sorted(ROWS.values(), key=lambda row: row.family)
    return [row for row in rows if not names or any(row.matches(each) for each in names)]


def promises(rows: Sequence[Row]) -> str:
    """Return what docs/guarantees.md shows."""
    lines = [(row.promise, row.bound, f"`make chaos ROW={row.name}`") for row in rows]
    return "\n".join(_markdown([_PROMISE, *lines]))


def results(found: Sequence[Result]) -> str:
    lines = []
    for each in found:
        figures = (each.messages, each.faults, each.lost, each.duplicates, each.bound)
        lines.append(
            (
                *(each.row.name, each.row.promise, *(f"{figure:,}" for figure in figures)),
                *(f"{each.seconds:.0f}", str(each.seed)),
                "holds" if each.holds else "**broken**",
            )
        )
    return "\n".join(_markdown([_RESULT, *lines]))


def _markdown(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    for number, cells in enumerate(lines):
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield "|---" * len(cells) + "|"
