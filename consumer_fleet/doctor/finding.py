"""What a check has found, and how it is shown."""

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
from consumer_fleet.printable import printable, without_credentials
from consumer_fleet.targets import default_dead_letter_topic, group_of, physical_topic

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


# Yields what it finds as it finds it: what came before a failure or the deadline counts.
Examination: TypeAlias = Callable[[], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """``name`` and ``subject`` are those of the finding, should it fail or not end."""

    name: str
    subject: str
    examine: Examination


@dataclass(slots=True)
class _Examined:
    check: Check
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> None:
        try:
            for finding in self.check.examine():
                self.findings.append(finding)
        except FleetError as error:
            self.findings.append(
                problem(self.check.name, self.check.subject, str(error), "See the message.")
            )
        except Exception as error:
            # Whatever is wrong with one check, the others' findings are wanted.
            text = without_credentials(f"{type(error).__name__}: {error}")
            self.findings.append(
                problem(
                    self.check.name,
                    self.check.subject,
                    f"the check itself failed: {text}",
                    "This is a bug in consumer-fleet; the other findings stand.",
                )
            )


def check_up(checks: Sequence[Check], timeout_s: float) -> list[Finding]:
    """All findings, in the order of the checks. Blocks until the last has ended, or the deadline.

    A check that has not ended by then is a problem; its thread is left to itself, as one that
    waits for a name server can't be stopped.
    """
    deadline = monotonic() + timeout_s
    running: list[tuple[_Examined, threading.Thread]] = []
    for check in checks:
        examined = _Examined(check)
        thread = threading.Thread(target=examined.run, name=check.name, daemon=True)
        thread.start()
        running.append((examined, thread))
    found: list[Finding] = []
    for examined, thread in running:
        thread.join(max(0.0, deadline - monotonic()))
        found += examined.findings
        if thread.is_alive():
            found.append(
                problem(
                    examined.check.name,
                    examined.check.subject,
                    f"the check did not end within {timeout_s:g} s",
                    "Look for a name server, a firewall or a server that neither answers nor "
                    "refuses.",
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Subject:
    """One consumer, with the names that things have on the cluster.

    ``is_wanted``: somebody named it. What a consumer lacks that nobody named is no problem yet.
    """

    name: str
    topic: str
    group: str
    dead_letter_topic: str | None
    is_wanted: bool = True


def subjects_of(options: Options, named: Iterable[str]) -> tuple[Subject, ...]:
    """The consumers that are named, else the one that is configured, else all of the registry.

    Raises ConfigurationError for a name that the registry doesn't have.
    """
    wanted = tuple(dict.fromkeys(named)) or ((options.topic,) if options.topic else ())
    if wanted:
        return tuple(_subject(registry.get(name), options, is_wanted=True) for name in wanted)
    return tuple(_subject(each, options, is_wanted=False) for each in registry.every_consumer())


def _subject(definition: ConsumerDefinition, options: Options, *, is_wanted: bool) -> Subject:
    topic = physical_topic(definition, options)
    dead_letter_topic = None
    if not options.no_dlq:
        dead_letter_topic = options.dlq_topic or default_dead_letter_topic(topic)
    return Subject(
        definition.name, topic, group_of(definition, options), dead_letter_topic, is_wanted
    )
