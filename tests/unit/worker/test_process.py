"""A worker's process, as its parent sees it."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

from consumer_fleet.worker import process as process_module
from consumer_fleet.worker.process import WorkerProcess


def test_the_system_is_asked_for_a_life_now_and_then_and_as_soon_as_the_pipe_has_closed() -> None:
    now = 100.0
    asked = []

    def is_alive() -> bool:
        asked.append(now)
        return True

    worker = object.__new__(WorkerProcess)
    pipe = SimpleNamespace(ended=False)
    worker.__dict__.update(_pipe=pipe, _process=SimpleNamespace(is_alive=is_alive), _ask_due=0.0)
    with (
        mock.patch.object(process_module, "monotonic", side_effect=lambda: now),
        mock.patch.object(process_module, "wait", return_value=[]),
    ):
        assert all(worker.alive for _ in range(1000))
        assert len(asked) == 1
        now += 0.06
        assert worker.alive
        pipe.ended = True
        worker._process.is_alive = lambda: False  # type: ignore[method-assign]  # it is a stand-in
        assert not worker.alive
    assert asked == [100.0, 100.06]
