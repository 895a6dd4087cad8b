"""How a run is asked to end. Signals are tried on a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from consumer_fleet.capture.counts import DestinationState, DestinationStatus
from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.run.shutdown import Shutdown, on_its_way
from tests.support.consumer_process import clean_environment

# Prints a line whenever it is asked to end; "end" on stdin ends it in order. It waits in short
# turns, as a run does: a signal that comes just before a blocking read would wait for input.
_PROGRAM = """
import os
import select
import sys
from consumer_fleet.run import shutdown as module
from consumer_fleet.run.shutdown import Shutdown

module._MARGIN_S = 0.0
shutdown = Shutdown(float(sys.argv[1]))
shutdown.on_request = lambda: print("requested", flush=True)
with shutdown.signals():
    print("ready", flush=True)
    ended = False
    while not ended:
        if select.select([0], [], [], 0.05)[0]:
            lines = os.read(0, 4096).splitlines()
            if b"finish" in lines:
                shutdown.request("it is done")
            ended = not lines or lines[-1] != b"finish"
print("ended", flush=True)
"""


class Program:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def say(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        return self._process.wait(30)


@contextmanager
def program(shutdown_timeout_s: float = 600.0) -> Iterator[Program]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(shutdown_timeout_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=clean_environment({"PYTHONPATH": ":".join(sys.path)}),
    )
    with process:
        try:
            # The library under test logs to stdout where nothing has set logging up.
            started = Program(process)
            assert started.line() == "ready"
            yield started
        finally:
            process.kill()


def until(running: Program, wanted: str) -> None:
    """Read up to a line, past log lines."""
    for _ in range(10):
        if running.line() == wanted:
            return
    raise AssertionError(f"it never said {wanted!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_asks_and_the_run_ends_in_order(number: signal.Signals) -> None:
    with program() as running:
        running.signal(number)
        until(running, "requested")
        running.say("end")
        until(running, "ended")
        assert running.wait() == 0


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
        (signal.SIGINT, signal.SIGTERM, 143),
    ],
)
def test_a_second_signal_ends_at_once_with_its_own_code(
    first: signal.Signals, second: signal.Signals, code: int
) -> None:
    with program() as running:
        running.signal(first)
        until(running, "requested")
        running.signal(second)
        assert running.wait() == code


def test_the_first_signal_does_not_cut_short_an_end_that_has_begun_by_itself() -> None:
    with program() as running:
        running.say("finish")
        until(running, "requested")
        running.signal(signal.SIGTERM)
        running.say("end")
        until(running, "ended")
        assert running.wait() == 0


def test_a_shutdown_that_does_not_end_is_ended() -> None:
    with program(shutdown_timeout_s=0.1) as running:
        running.signal(signal.SIGTERM)
        assert running.wait() == 143


def test_a_run_that_ends_by_itself_has_no_more_time_than_a_signal_gives() -> None:
    with program(shutdown_timeout_s=0.1) as running:
        running.say("finish")
        assert running.wait() == 143


def test_the_first_request_stands(capfd: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []
    shutdown = Shutdown(1.0)
    shutdown.on_request = lambda: calls.append("requested")
    assert not shutdown.requested
    shutdown.request("the first reason")
    shutdown.request("a later reason")
    assert shutdown.requested
    assert calls == ["requested"]
    assert shutdown.failure is None
    output = capfd.readouterr().out
    assert "the first reason" in output
    assert "a later reason" not in output


def test_an_end_says_how_long_at_most_what_it_waits_for_and_what_a_second_signal_does() -> None:
    shutdown = Shutdown(25.0)
    shutdown.waits_for = lambda: "messages in flight"
    with capture_logs() as logs:
        shutdown.request("SIGINT")
    (event,) = logs
    assert (event["event"], event["at_most_s"]) == ("stopping", 25.0)
    assert event["waits_for"] == "messages in flight"
    assert event["second_signal"] == "ends at once"


def test_a_drain_waits_for_what_is_in_flight_and_says_what_is_in_its_way() -> None:
    def status(name: str, state: DestinationState, reason: str = "") -> DestinationStatus:
        return DestinationStatus(name, state, 100, 0, 0, 5, reason)

    fine = status("upstream", "open")
    assert on_its_way(1_200_000, [fine]) == "messages in flight (1.2 MB)"
    slow = status("saas", "backing_off", "HTTP 503: busy")
    assert on_its_way(1_200_000, [fine, slow]) == (
        "messages in flight (1.2 MB); saas is backing off: HTTP 503: busy"
    )
    assert on_its_way(0, [slow]) == "the last commit"


def test_the_first_failure_stands_and_asks_to_end() -> None:
    shutdown = Shutdown(1.0)
    first = KafkaUnreachable("gone")
    shutdown.fail(first)
    shutdown.fail(ConfigurationError("later"))
    assert shutdown.failure is first
    assert shutdown.requested


def test_a_failure_during_the_end_is_still_the_run_s_failure() -> None:
    shutdown = Shutdown(1.0)
    shutdown.request("done")
    error = KafkaUnreachable("gone")
    shutdown.fail(error)
    assert shutdown.failure is error


def test_waiting_ends_with_the_request() -> None:
    shutdown = Shutdown(1.0)
    waiter = threading.Thread(target=shutdown.wait, args=(60.0,))
    waiter.start()
    shutdown.request("done")
    waiter.join(10.0)
    assert not waiter.is_alive()


@pytest.mark.parametrize("raising", [False, True])
def test_the_handlers_of_before_are_restored(raising: bool) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        with Shutdown(1.0).signals():
            assert all(signal.getsignal(n) != b for n, b in zip(numbers, before, strict=True))
            if raising:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert raising
    assert [signal.getsignal(number) for number in numbers] == before
