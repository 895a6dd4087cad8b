"""Findings, how they are shown, and the checks that yield them."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Final, Literal, TypeAlias

import click

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import FleetError
from consumer_fleet.humanize import counted
from consumer_fleet.printable import printable, without_credentials
from consumer_fleet.targets import dead_letter_topic_of, group_of, physical_topic

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

    ``check`` is a fixed identifier and ``subject`` the thing that was checked: a server, a topic,
    an option. ``fix`` says what to do, empty if all is well; each of its lines is either prose or a
    command to copy.
    """

    check: str
    status: Status
    subject: str
    seen: str
    fix: str = ""

    def as_plain_data(self) -> dict[str, str]:
        """One element of the list that ``--json`` prints."""
        return asdict(self)


def ok(check: str, subject: str, seen: str) -> Finding:
    return Finding(check, "ok", subject, seen)


def warning(check: str, subject: str, seen: str, fix: str) -> Finding:
    """The consumer works, but perhaps not as expected."""
    return Finding(check, "warning", subject, seen, fix)


def problem(check: str, subject: str, seen: str, fix: str) -> Finding:
    """The consumer does not start, does not deliver, or loses data."""
    return Finding(check, "problem", subject, seen, fix)


def report_lines(findings: Sequence[Finding], *, is_terminal: bool) -> Iterator[str]:
    """The report for a person, folded at ``_WIDTH`` columns on a terminal. Elsewhere each finding
    is one line, for grep; click strips the colours.
    """
    width = _WIDTH if is_terminal else _NO_WIDTH
    for finding in findings:
        yield from _finding_lines(finding, width)
    yield summary(findings)


def summary(findings: Iterable[Finding]) -> str:
    counts: dict[Status, int] = dict.fromkeys(_COLORS, 0)
    for finding in findings:
        counts[finding.status] += 1
    problems = counted(counts["problem"], "problem") if counts["problem"] else "no problems"
    warnings = counted(counts["warning"], "warning") if counts["warning"] else "no warnings"
    return f"{problems}, {warnings}, {counts['ok']} ok"


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
    # Servers' own texts are part of it.
    return [printable(line) for line in lines]


def _wrapped_command(command: str, width: int) -> Iterator[str]:
    """The command, continued before an option if it is too long: it can be copied as it is."""
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


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` and ``subject`` are those of the finding if it fails or does not end.

    ``examine`` yields each finding at once: those before a failure or the deadline count.
    """

    name: str
    subject: str
    examine: Callable[[], Iterable[Finding]]


@dataclass(slots=True)
class _RunningCheck:
    check: Check
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> None:
        try:
            for finding in self.check.examine():
                self.findings.append(finding)
        except FleetError as error:
            self.findings.append(
                problem(self.check.name, self.check.subject, str(error), "Follow the message.")
            )
        except Exception as error:
            # A bug in one check must not hide the findings of the others.
            text = without_credentials(f"{type(error).__name__}: {error}")
            self.findings.append(
                problem(
                    self.check.name,
                    self.check.subject,
                    f"the check itself failed: {text}",
                    "This is a bug in consumer-fleet; the other findings are valid.",
                )
            )


def run_checks(checks: Sequence[Check], timeout_s: float) -> list[Finding]:
    """All findings, in the order of the checks. Blocks until the last has ended, or the deadline.

    A check that has not ended by then is a problem; its thread keeps running, as one that waits for
    a name server can't be stopped.
    """
    deadline = monotonic() + timeout_s
    running: list[tuple[_RunningCheck, threading.Thread]] = []
    for check in checks:
        running_check = _RunningCheck(check)
        thread = threading.Thread(target=running_check.run, name=check.name, daemon=True)
        thread.start()
        running.append((running_check, thread))
    found: list[Finding] = []
    for running_check, thread in running:
        thread.join(max(0.0, deadline - monotonic()))
        found += running_check.findings
        if thread.is_alive():
            found.append(
                problem(
                    running_check.check.name,
                    running_check.check.subject,
                    f"the check did not end within {timeout_s:g} s",
                    "Check for a name server, a firewall or a server that neither accepts nor "
                    "refuses.",
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Subject:
    """One consumer, with its topic, group and dead letter topic on the cluster.

    ``is_wanted``: it was named. What an unnamed consumer lacks is not a problem yet.
    """

    name: str
    topic: str
    group: str
    dead_letter_topic: str | None
    is_wanted: bool = True


def subjects_of(options: Options, named: Iterable[str]) -> tuple[Subject, ...]:
    """The consumers that are named, else the configured ones, else all of the registry.

    Raises ConfigurationError for a name that is not in the registry.
    """
    wanted = tuple(dict.fromkeys(named)) or options.topic
    if wanted:
        return tuple(_subject(registry.get(name), options, is_wanted=True) for name in wanted)
    return tuple(_subject(each, options, is_wanted=False) for each in registry.every_consumer())


def _subject(definition: ConsumerDefinition, options: Options, *, is_wanted: bool) -> Subject:
    topic = physical_topic(definition, options)
    return Subject(
        definition.name,
        topic,
        group_of(definition, options),
        dead_letter_topic_of(topic, options),
        is_wanted,
    )
