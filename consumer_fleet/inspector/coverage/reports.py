"""What a coverage report says, and how the formats' parsers put it together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import orjson

from consumer_fleet.inspector.coverage.service import Line, Lines

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


_BOM = b"\xef\xbb\xbf"


def read_json(path: Path) -> Report:
    """``coverage json``. Branches are there if they were measured."""
    try:
        document = orjson.loads(path.read_bytes().removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        raise UnreadableReport(f"not JSON: {error}") from error
    files = document.get("files")
    if not isinstance(files, dict) or not isinstance(document.get("meta"), dict):
        raise UnreadableReport("of all JSON, only that of `coverage json` is known")
    return {name: _lines(about) for name, about in files.items()}


def read_data_file(path: Path) -> Report:
    """``.coverage``: the lines that ran. What else could have run, only the sources tell.

    coverage.py itself finds that out, so it and the measured sources must be on this machine.
    """
    try:
        from coverage import Coverage  # noqa: PLC0415 - an optional dependency
        from coverage.exceptions import CoverageException  # noqa: PLC0415 - as above
    except ImportError as error:
        raise UnreadableReport(
            "to read a .coverage file install consumer-fleet[coverage], or give the output of "
            "`coverage json`"
        ) from error
    with TemporaryDirectory() as folder:
        output = Path(folder) / "coverage.json"
        # No configuration file: it could name plugins, which are code.
        measured = Coverage(data_file=str(path), config_file=False)
        measured.set_option("run:disable_warnings", ["couldnt-parse"])
        try:
            measured.load()
            measured.json_report(outfile=str(output), ignore_errors=True)
        except CoverageException as error:
            raise UnreadableReport(f"coverage.py says: {error}") from error
        report = read_json(output)
    if not report:
        raise UnreadableReport(
            "none of the measured sources is on this machine: give the output of `coverage json`"
        )
    return report


def _lines(about: Any) -> Lines:
    if not isinstance(about, dict):
        raise UnreadableReport("a file's entry is not an object")
    lines: Lines = dict.fromkeys(_numbers(about, "missing_lines"), Line.UNCOVERED)
    lines.update(dict.fromkeys(_numbers(about, "executed_lines"), Line.COVERED))
    branches = about.get("missing_branches", [])
    if not isinstance(branches, list):
        raise UnreadableReport("missing_branches is not a list of pairs of lines")
    for branch in branches:
        if not isinstance(branch, list) or not branch or type(branch[0]) is not int:
            raise UnreadableReport("a missing branch is not a pair of lines")
        if lines.get(branch[0]) is Line.COVERED:
            lines[branch[0]] = Line.PARTIAL
    return lines


def _numbers(about: dict[str, Any], key: str) -> Iterable[int]:
    numbers = about.get(key)
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise UnreadableReport(f"{key} is not a list of line numbers")
    return numbers


@dataclass(slots=True)
class _Counts:
    """Of one source file, over all tests: which lines ran, which branches were taken."""

    ran: dict[int, bool] = field(default_factory=dict)
    branches: dict[int, dict[str, bool]] = field(default_factory=dict)

    def add_line(self, value: str) -> None:
        """``DA:<line>,<hits>[,<checksum>]``"""
        number, _, rest = value.partition(",")
        line = line_number(number)
        self.ran[line] = self.ran.get(line, False) or _is_taken(rest.partition(",")[0])

    def add_branch(self, value: str) -> None:
        """``BRDA:<line>,[e]<block>,<branch>,<taken>``; a branch's name may have commas."""
        number, _, rest = value.partition(",")
        branch, _, taken = rest.rpartition(",")
        known = self.branches.setdefault(line_number(number), {})
        known[branch] = known.get(branch, False) or _is_taken(taken)

    def lines(self) -> Lines:
        found: Lines = {}
        for number, ran in self.ran.items():
            taken = self.branches.get(number, {}).values()
            found[number] = line_from_counts(ran, len(taken), sum(taken))
        return found


def read_lcov(path: Path) -> Report:
    """A source file may have several records, one for each test: they are added up."""
    counts: dict[str, _Counts] = {}
    current: _Counts | None = None
    with path.open(encoding="utf-8-sig") as file:
        for position, text in enumerate(file, 1):
            key, _, value = text.strip().partition(":")
            if key == "SF":
                current = counts.setdefault(value, _Counts())
            elif key == "end_of_record":
                current = None
            elif current is not None and key in ("DA", "BRDA"):
                try:
                    current.add_line(value) if key == "DA" else current.add_branch(value)
                except UnreadableReport as error:
                    raise UnreadableReport(f"line {position}: {error}") from error
    return {name: found.lines() for name, found in counts.items()}


def _is_taken(count: str) -> bool:
    """``-`` stands for a branch whose line never ran. Some compilers' counts are below zero."""
    if count == "-" or count.startswith("-"):
        return False
    return line_number(count) > 0
