"""The comparison of worker steps."""

from __future__ import annotations

from functools import partial

import pytest

from bench import transform
from consumer_fleet.errors import EXIT_CONFIGURATION, FleetError
from consumer_fleet.worker import protocol
from consumer_fleet.worker.pool import WorkerPool
from tests.support.workers import HandWorker


def test_a_worker_that_can_not_boot_ends_it_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = HandWorker()
    worker.frames.append(protocol.encode_failed("the CA file is missing", EXIT_CONFIGURATION))
    worker.die(exit_code=EXIT_CONFIGURATION)
    monkeypatch.setattr(
        transform, "WorkerPool", partial(WorkerPool, start_worker=lambda *_: worker)
    )
    with pytest.raises(FleetError, match="the CA file is missing"):
        transform.ours(1)
