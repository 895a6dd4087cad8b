"""lcov's tracefiles (https://github.com/linux-test-project/lcov, geninfo(1), "FILES")."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from inspector.coverage.interface import Lines
from inspector.coverage.report import Report, UnreadableReport, line_from_counts, line_number


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
