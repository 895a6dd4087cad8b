"""Boots of workers that failed: what is said, and when the run is given up."""

from __future__ import annotations

import errno
import signal

import pytest
import structlog.testing

from consumer_fleet.errors import (
    EXIT_BUG,
    EXIT_CONFIGURATION,
    EXIT_SYSTEM,
    ConfigurationError,
    FleetError,
    SystemFailure,
)
from consumer_fleet.worker.boot_failures import (
    BootFailure,
    BootFailures,
    describe_death,
    describe_refusal,
)

BUG = BootFailure("RuntimeError: x", EXIT_BUG)


@pytest.mark.parametrize(
    ("cause", "exit_code", "said", "code"),
    [
        ("signal", -signal.SIGKILL, "SIGKILL ended it during its boot. The system", EXIT_SYSTEM),
        ("signal", -signal.SIGBUS, "SIGBUS ended it during its boot. A library", EXIT_SYSTEM),
        ("signal", -250, "signal 250 ended it", EXIT_SYSTEM),
        ("exit", 1, "it ended during its boot (exit code 1)", EXIT_BUG),
        ("exit", None, "it ended during its boot", EXIT_BUG),
        ("hang", -signal.SIGKILL, "its boot made no progress for 60 s", EXIT_BUG),
    ],
)
def test_a_death_is_described_by_its_cause(
    cause: str, exit_code: int | None, said: str, code: int
) -> None:
    failure = describe_death(cause, exit_code)
    assert failure.text.startswith(said)
    assert failure.exit_code == code


def test_a_process_that_the_system_does_not_start_is_no_bug() -> None:
    refused = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    assert describe_refusal(refused).exit_code == EXIT_SYSTEM
    with pytest.raises(OSError, match="open files"):
        describe_refusal(OSError(errno.EMFILE, "Too many open files"))


@pytest.mark.parametrize(("code", "kind"), [(EXIT_BUG, FleetError), (EXIT_SYSTEM, SystemFailure)])
def test_five_failures_in_a_row_of_one_worker_end_the_run(
    code: int, kind: type[FleetError]
) -> None:
    failures = BootFailures()
    with structlog.testing.capture_logs() as logs:
        assert [failures.failed(1, BUG) for _ in range(4)] == [None] * 4
        assert failures.failed(2, BUG) is None, "another worker's first one"
        failures.succeeded(1)
        assert [failures.failed(1, BUG) for _ in range(4)] == [None] * 4
        error = failures.failed(1, BootFailure("why", code))
    assert type(error) is kind
    assert error.exit_code == code
    assert str(error) == "a worker can't boot: why"
    assert [entry["attempt"] for entry in logs] == [1, 2, 3, 4, 1, 1, 2, 3, 4, 5]


def test_a_wrong_configuration_ends_the_run_at_once() -> None:
    error = BootFailures().failed(1, BootFailure("no DSN", EXIT_CONFIGURATION))
    assert isinstance(error, ConfigurationError)
