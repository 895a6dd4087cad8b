"""Boots of workers that failed: described, reported, and counted until the run is given up."""

from __future__ import annotations

import errno
import signal
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import structlog

from consumer_fleet.capture.own_events import BugReports
from consumer_fleet.errors import (
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_SYSTEM,
    ConfigurationError,
    FleetError,
    SystemFailure,
)
from consumer_fleet.humanize import signal_name

log = structlog.get_logger(__name__)

BOOT_TIMEOUT_S: Final = 60.0
# Boots in a row that may fail before the run is given up.
_MAX_FAILED_BOOTS: Final = 5
_ERRORS: Final[Mapping[int, type[FleetError]]] = MappingProxyType(
    {EXIT_CONFIGURATION: ConfigurationError, EXIT_SYSTEM: SystemFailure}
)


class BootFailure(NamedTuple):
    """Why a worker could not boot, and the exit code that goes with it."""

    text: str
    exit_code: int


def describe_refusal(error: OSError) -> BootFailure:
    """The system starts no process. Raises what says enough itself: too many open files."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        raise error
    return BootFailure(f"the system can't start a process: {error.strerror}", EXIT_SYSTEM)


def describe_death(cause: str, exit_code: int | None) -> BootFailure:
    """The worker has ended without a word; ``exit_code`` is that of multiprocessing."""
    if cause == "hang":
        return BootFailure(f"its boot made no progress for {BOOT_TIMEOUT_S:g} s", EXIT_BUG)
    if exit_code is None or exit_code >= 0:
        return BootFailure(f"it ended during its boot (exit code {exit_code})", EXIT_BUG)
    number = -exit_code
    advice = "A library has crashed, or another process sends that signal."
    if number == signal.SIGKILL:
        advice = "The system does that when memory runs out: raise its limit, or lower workers."
    return BootFailure(f"{signal_name(number)} ended it during its boot. {advice}", EXIT_SYSTEM)


class BootFailures:
    """The failed boots of all workers, which are known by their numbers."""

    def __init__(self) -> None:
        self._in_a_row: Counter[int] = Counter()
        self._bugs = BugReports()

    def succeeded(self, worker: int) -> None:
        """The worker has booted: its next failure is the first one again."""
        self._in_a_row.pop(worker, None)

    def failed(self, worker: int, failure: BootFailure) -> FleetError | None:
        """Log and report it. Returns the error that ends the run, if this failure does."""
        self._in_a_row[worker] += 1
        attempt = self._in_a_row[worker]
        log.error("worker_boot_failed", worker=worker, error=failure.text, attempt=attempt)
        kind = _ERRORS.get(failure.exit_code, FleetError)
        error = kind(f"a worker can't boot: {failure.text}")
        self._bugs.report(error, worker=str(worker))
        is_last = failure.exit_code == EXIT_CONFIGURATION or attempt >= _MAX_FAILED_BOOTS
        return error if is_last else None
