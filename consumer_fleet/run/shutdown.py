"""The request to end a run: by a signal, by an error, or because its work is done."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import structlog
from rich.filesize import decimal

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.errors import EXIT_FORCED_INT, EXIT_FORCED_TERM, FleetError

log = structlog.get_logger(__name__)

# On top of the time to drain: to commit, to leave the group, to end the workers.
_MARGIN_S = 10.0


class Shutdown:
    """Collect the first reason to end. ``on_request`` is called once, when there is one.

    A second signal ends the process at once, and so does a shutdown that does not end by itself:
    workers see the pipe close and exit, uncommitted messages are read again.
    """

    def __init__(self, shutdown_timeout_s: float) -> None:
        self.timeout_s = shutdown_timeout_s
        self._requested = threading.Event()
        self._signalled = False
        self._guarded = False
        self._forced_code = EXIT_FORCED_TERM
        self._watchdog: threading.Timer | None = None
        self.failure: FleetError | None = None
        # The exit code of a replay that a signal kept from reaching its end.
        self.signal_code: int | None = None
        self.on_request: Callable[[], None] | None = None
        #: Says, for a person, what the shutdown waits for.
        self.waits_for: Callable[[], str] | None = None

    @property
    def requested(self) -> bool:
        return self._requested.is_set()

    def request(self, why: str) -> None:
        """End in order: drain, commit, leave. Later requests change nothing."""
        if self._requested.is_set():
            return
        self._requested.set()
        if self._guarded:
            self._start_watchdog()
        log.info(
            "stopping",
            why=why,
            **({} if self.waits_for is None else {"waits_for": self.waits_for()}),
            at_most_s=self.timeout_s,
            second_signal="ends at once",
        )
        if self.on_request is not None:
            self.on_request()

    def fail(self, error: FleetError) -> None:
        """End in order, and with this error's exit code. The first error counts."""
        if self.failure is None:
            self.failure = error
            self.request(type(error).__name__)

    def raise_failure(self) -> None:
        """Raise the error that ended the run, if one did."""
        if self.failure is not None:
            raise self.failure

    def wait(self, timeout_s: float) -> None:
        """Sleep, but not past a request to end."""
        self._requested.wait(timeout_s)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle INT and TERM inside, bound a shutdown's time, and restore the handlers after."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._on_signal)
        self._guarded = True
        try:
            yield
        finally:
            self._guarded = False
            if self._watchdog is not None:
                self._watchdog.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self._forced_code = EXIT_FORCED_INT if number == signal.SIGINT else EXIT_FORCED_TERM
        if not self.requested:
            self.signal_code = self._forced_code
        # Kubernetes may send a signal after the end has begun by itself: it cuts nothing short.
        if self._signalled:
            self._force("a second signal")
        self._signalled = True
        self.request(signal.Signals(number).name)

    def _start_watchdog(self) -> None:
        self._watchdog = threading.Timer(
            self.timeout_s + _MARGIN_S, self._force, args=("the shutdown did not end in time",)
        )
        self._watchdog.daemon = True
        self._watchdog.start()

    def _force(self, why: str) -> None:
        log.error("forced_exit", why=why, exit_code=self._forced_code)
        os._exit(self._forced_code)


def on_its_way(in_flight_bytes: int, statuses: Sequence[DestinationStatus]) -> str:
    """What a drain waits for, and what is in its way."""
    if not in_flight_bytes:
        return "the last commit"
    found = [f"messages in flight ({decimal(in_flight_bytes)})"]
    found += [
        f"{status.name} is {status.state.replace('_', ' ')}: {status.reason}"
        for status in statuses
        if status.state != "open"
    ]
    return "; ".join(found)
