"""What a check has found, and how it is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

import click

from fleet.printable import printable

Status: TypeAlias = Literal["ok", "warning", "problem"]

_COLORS: Final[dict[Status, str]] = {"ok": "green", "warning": "yellow", "problem": "red"}
_WIDTH: Final = 80
_NO_WIDTH: Final = 1_000_000
_STATUS_WIDTH: Final = max(map(len, _COLORS)) + 1
_INDENT: Final = _STATUS_WIDTH + 2
# How the lines of a fix begin that are to be copied, not read.
_PROGRAMS: Final = ("consumer ", "kafka-", "openssl ", "export ", "ulimit ")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    ``check`` is a fixed identifier and ``subject`` what was looked at: a server, a topic, an
    option. ``fix`` says what to do, empty where all is well; each of its lines is either prose or
    a command to copy.
    """

    check: str
    status: Status
    subject: str
    seen: str
    fix: str = ""

    def as_plain_data(self) -> dict[str, str]:
        """The structure that ``--json`` prints a list of."""
        return asdict(self)


def ok(check: str, subject: str, seen: str) -> Finding:
    return Finding(check, "ok", subject, seen)


def warning(check: str, subject: str, seen: str, fix: str) -> Finding:
    """The consumer works, but not as somebody may expect."""
    return Finding(check, "warning", subject, seen, fix)


def problem(check: str, subject: str, seen: str, fix: str) -> Finding:
    """The consumer does not start, does not deliver, or loses data."""
    return Finding(check, "problem", subject, seen, fix)


def report_lines(findings: Sequence[Finding], *, is_terminal: bool) -> Iterator[str]:
    """The report for a person, folded at ``_WIDTH`` columns on a terminal. Elsewhere nothing is
    folded, so that grep finds a whole finding on its line. Colours are click's to strip.
    """
    width = _WIDTH if is_terminal else _NO_WIDTH
    for finding in findings:
        yield from _finding_lines(finding, width)
    yield summary(findings)


def summary(findings: Iterable[Finding]) -> str:
    counts: dict[Status, int] = dict.fromkeys(_COLORS, 0)
    for finding in findings:
        counts[finding.status] += 1
    return (
        f"{_counted(counts['problem'], 'problem')}, {_counted(counts['warning'], 'warning')}, "
        f"{counts['ok']} ok"
    )


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _finding_lines(finding: Finding, width: int) -> Iterator[str]:
    text = f"{finding.check}: {finding.subject}: {finding.seen}"
    status = click.style(f"{finding.status:<{_STATUS_WIDTH}}", fg=_COLORS[finding.status])
    first, *rest = _wrapped(text, _STATUS_WIDTH, width)
    yield status + first[_STATUS_WIDTH:]
    yield from rest
    for line in finding.fix.splitlines():
        if line.startswith(_PROGRAMS):
            yield from _wrapped_command(line, width)
        else:
            yield from _wrapped(line, _INDENT, width)


def _wrapped(text: str, indent: int, width: int) -> list[str]:
    margin = " " * indent
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
    # Some of it is what servers say.
    return [printable(line) for line in lines]


def _wrapped_command(command: str, width: int) -> Iterator[str]:
    """The command, continued before an option where it is too long: it can be copied as it is."""
    margin = " " * (_INDENT + 2)
    line = margin
    for number, part in enumerate(command.split(" --")):
        piece = part if number == 0 else f" --{part}"
        if number and len(line) + len(piece) > width - 2:
            yield f"{line} \\"
            line = f"{margin}   {piece}"
        else:
            line += piece
    yield line
