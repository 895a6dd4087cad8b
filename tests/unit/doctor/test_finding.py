"""``consumer doctor``: running checks, and showing their findings."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Iterator

import pytest

from consumer_fleet.doctor.finding import (
    Check,
    Finding,
    ok,
    problem,
    report_lines,
    run_checks,
    summary,
    warning,
)
from consumer_fleet.errors import ConfigurationError
from tests.support.clock import ManualClock
from tests.support.processes import wait_until

LONG = "a rather long remark about something that was seen, " * 4
COMMAND = (
    "kafka-configs.sh --bootstrap-server kafka.example:9092 --alter --entity-type topics "
    "--entity-name events --add-config retention.ms=259200000"
)


def fine() -> Iterator[Finding]:
    yield ok("fine", "subject", "all is well")


def running() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


# Checks


def test_the_findings_come_in_the_order_of_the_checks_not_of_their_ends() -> None:
    second_ended = threading.Event()

    def first() -> Iterator[Finding]:
        assert second_ended.wait(10)
        yield ok("first", "", "")

    def second() -> Iterator[Finding]:
        yield ok("second", "", "")
        second_ended.set()

    found = run_checks([Check("first", "", first), Check("second", "", second)], 20)
    assert [finding.check for finding in found] == ["first", "second"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConfigurationError("this option is wrong"), "this option is wrong"),
        (ZeroDivisionError("division"), "the check itself failed: ZeroDivisionError: division"),
    ],
)
def test_a_check_that_fails_is_a_problem_and_hides_no_other(error: Exception, says: str) -> None:
    def failing() -> Iterator[Finding]:
        yield ok("failing", "half", "seen before it failed")
        raise error

    found = run_checks([Check("failing", "whole", failing), Check("fine", "", fine)], 10)
    assert [(each.check, each.status) for each in found] == [
        ("failing", "ok"),
        ("failing", "problem"),
        ("fine", "ok"),
    ]
    assert found[1].seen == says
    assert found[1].subject == "whole"


def test_a_check_that_hangs_is_a_problem_at_the_deadline_and_keeps_what_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    monkeypatch.setattr("consumer_fleet.doctor.finding.monotonic", clock)
    hangs, began, released = threading.Event(), threading.Event(), threading.Event()

    def hanging() -> Iterator[Finding]:
        yield ok("hanging", "half", "seen before it hung")
        hangs.set()
        released.wait(60)

    def other() -> Iterator[Finding]:
        began.set()
        yield from fine()

    def last() -> Iterator[Finding]:
        """The deadline passes once all others have come as far as they can."""
        assert hangs.wait(10)
        assert began.wait(10)
        wait_until(lambda: "other" not in running(), timeout_s=10, what="the other check")
        clock.now += 20
        yield ok("last", "", "")

    started = time.monotonic()
    checks = (Check("last", "", last), Check("hanging", "whole", hanging))
    found = run_checks([*checks, Check("other", "", other)], 20)
    released.set()
    assert time.monotonic() - started < 40
    assert [(each.check, each.status) for each in found] == [
        ("last", "ok"),
        ("hanging", "ok"),
        ("hanging", "problem"),
        ("fine", "ok"),
    ]
    assert "within 20 s" in found[2].seen


# What is shown


def test_nothing_on_a_terminal_is_wider_than_it() -> None:
    found = [ok("topic.exists", "events", LONG), problem("x", "y", LONG, f"{LONG}\n{COMMAND}")]
    lines = list(report_lines(found, is_terminal=True))
    assert max(len(plain(line)) for line in lines) <= 80
    assert len(lines) > 10


@pytest.mark.parametrize("length", range(1, 40))
def test_a_command_is_continued_before_it_is_too_wide(length: int) -> None:
    command = f"consumer offsets reset --group {'g' * length} --topic {'t' * 30} --to earliest"
    lines = list(report_lines([problem("c", "s", "x", command)], is_terminal=True))
    assert max(len(plain(line)) for line in lines) <= 80


def test_what_a_server_says_moves_no_terminals_cursor() -> None:
    found = [warning("kafka.server", "k:9092", "offers \x1b[2J\x9b", "Set it to \x1b]0;x\x07.")]
    shown = [plain(line) for line in report_lines(found, is_terminal=True)]
    assert all(line.isprintable() for line in shown), shown
    assert "offers \\x1b[2J\\x9b" in shown[0]


def test_elsewhere_each_finding_is_one_line() -> None:
    found = [ok("topic.exists", "events", LONG), ok("x", "y", "z")]
    lines = [plain(line) for line in report_lines(found, is_terminal=False)]
    assert len(lines) == len(found) + 1
    assert LONG.strip() in lines[0]
    assert lines[0].startswith("ok ")


def test_a_folded_command_can_be_copied_as_it_is() -> None:
    found = [warning("topic.retention", "events", "seen", f"Do this:\n{COMMAND}")]
    lines = [plain(line) for line in report_lines(found, is_terminal=True)]
    start = next(number for number, line in enumerate(lines) if "kafka-configs.sh" in line)
    copied = "\n".join(lines[start:-1])
    assert "\\\n" in copied
    assert shlex.split(copied.replace("\\\n", " ")) == shlex.split(COMMAND)


def test_the_summary_counts() -> None:
    bad, odd = problem("c", "s", "x", "f"), warning("c", "s", "x", "f")
    assert summary([]) == "no problems, no warnings, 0 ok"
    assert summary([bad, odd, odd, ok("c", "s", "x")]) == "1 problem, 2 warnings, 1 ok"
    assert list(report_lines([bad], is_terminal=False))[-1] == summary([bad])


def test_the_plain_data_has_all_members_always() -> None:
    assert ok("check", "subject", "seen").as_plain_data() == {
        "check": "check",
        "status": "ok",
        "subject": "subject",
        "seen": "seen",
        "fix": "",
    }


def plain(line: str) -> str:
    """Without the colours."""
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"):
        line = line.replace(code, "")
    assert "\x1b" not in line
    return line
