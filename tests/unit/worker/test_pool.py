"""The pool's decisions, with a clock and workers of the test's own."""

from __future__ import annotations

import errno

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.errors import FleetError, SystemFailure
from consumer_fleet.worker import pool as pool_module
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool
from tests.support.clock import ManualClock
from tests.support.codecs import obey


def test_a_system_that_starts_no_process_ends_the_run_after_five_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock(1000.0)
    monkeypatch.setattr(pool_module, "monotonic", clock)
    failures: list[FleetError] = []

    def refuse(*_args: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    pool = WorkerPool(
        WorkerSpec(obey, Options()),
        1,
        message_timeout_s=60,
        on_failure=failures.append,
        start_worker=refuse,  # type: ignore[arg-type]  # it never returns
    )
    pool.start()
    for _ in range(4):
        assert not pool.is_hopeless
        clock.now += 10
        pool.poll()
    (failure,) = failures
    assert isinstance(failure, SystemFailure)
    assert "can't start a process: Resource temporarily unavailable" in str(failure)
    assert pool.is_hopeless
    pool.stop(0.0)
