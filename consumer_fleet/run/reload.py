"""SIGHUP: the sources of options are read again, and what may change in a running process does."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from consumer_fleet.bootstrap.option_checks import check_destinations
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.transport import MultiplexingTransport
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.run.run import Run

log = structlog.get_logger(__name__)


class Reload:
    """A run's duty. ``read`` reads the options again; ``options`` are those of the start."""

    def __init__(self, read: Callable[[], Options], options: Options) -> None:
        self._read = read
        self._at_start = options
        self._current = options
        self._requested = False
        self._had_terminal = _has_terminal()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle SIGHUP inside, and restore its handler after."""
        before = signal.signal(signal.SIGHUP, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._requested = True

    def do(self, run: Run, transport: MultiplexingTransport | None) -> None:
        """Do what a SIGHUP since the last call asks for. Called from the run's loop."""
        if not self._requested:
            return
        self._requested = False
        if self._had_terminal and not _has_terminal():
            run.shutdown.request("SIGHUP: the terminal was closed")
            return
        try:
            fresh = self._read()
            check_destinations(fresh)
        except ConfigurationError as error:
            log.error(
                "configuration_not_reloaded", error=str(error), what_now="nothing has changed"
            )
            return
        changed = _differing(self._current, fresh, self._live)
        others = [name for name in Options.model_fields if name not in self._live]
        needs_restart = _differing(self._at_start, fresh, others)
        self._current = fresh
        if changed:
            run.pool.change(fresh)
            if transport is not None:
                transport.change(*fresh.live_capture)
        log.info("configuration_reloaded", changed=changed, needs_restart=needs_restart)

    @property
    def _live(self) -> list[str]:
        # Where it was off at the start, there is no SDK that could report anything.
        return [
            name
            for name in Options.LIVE
            if name != "self_reporting" or self._at_start.self_reporting
        ]


def _differing(before: Options, after: Options, names: list[str]) -> list[str]:
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _has_terminal() -> bool:
    """Whether standard error is a terminal that is still open."""
    return sys.stderr is not None and os.isatty(2)
