"""What a coverage report says, and how the formats' parsers put it together."""

from __future__ import annotations

from typing import TypeAlias

from inspector.coverage.interface import Line, Lines

# The file's name as the report has it → its lines.
Report: TypeAlias = dict[str, Lines]


class UnreadableReport(Exception):
    """The message says what is wrong with the file, without its name."""


def line_from_counts(ran: bool, branches: int, taken: int) -> Line:
    """A line with branches is covered when all of them were taken."""
    if not ran:
        return Line.UNCOVERED
    return Line.PARTIAL if taken < branches else Line.COVERED


_BEST_FIRST = (Line.COVERED, Line.PARTIAL, Line.UNCOVERED)


def add_line(lines: Lines, number: int, line: Line) -> None:
    """Add one line. Where it is known already, what covered it better counts."""
    known = lines.get(number)
    if known is None or _BEST_FIRST.index(line) < _BEST_FIRST.index(known):
        lines[number] = line


def line_number(text: str | None) -> int:
    """A number of a report's text. Raises UnreadableReport for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UnreadableReport(f"{_shown(text)} is not a number")
    return int(text)


def _shown(text: str | None) -> str:
    return "nothing" if text is None else repr(text[:40])
