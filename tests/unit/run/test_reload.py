"""SIGHUP: what is read again, what changes at once, and what is only named."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest
import structlog.testing

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.run import reload as reload_module
from consumer_fleet.run.reload import Reload

AT_START: dict[str, object] = {
    "bootstrap_servers": "k:9092",
    "upstream_dsn": "http://key@127.0.0.1:1/1",
    "saas_dsn": "http://key@127.0.0.1:1/2",
}


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest({**AT_START, **given}), {}).options


class Scene:
    """A reload, its sources, and what it changes."""

    def __init__(self, **at_start: object) -> None:
        self.sources: Options | ConfigurationError = options(**at_start)
        self.reload = Reload(self._read, options(**at_start))
        self.changes: list[tuple[float, bool]] = []
        self.pool_changes: list[Options] = []
        self.ended: list[str] = []
        self.run: Any = SimpleNamespace(
            pool=SimpleNamespace(change=self.pool_changes.append),
            shutdown=SimpleNamespace(request=self.ended.append),
        )
        self.transport: Any = SimpleNamespace(change=lambda *live: self.changes.append(live))

    def _read(self) -> Options:
        if isinstance(self.sources, ConfigurationError):
            raise self.sources
        return self.sources

    def hang_up(self) -> list[Any]:
        """Send the signal, take a turn, and return the log."""
        with structlog.testing.capture_logs() as logs, self.reload.signals():
            os.kill(os.getpid(), signal.SIGHUP)
            self.reload.do(self.run, self.transport)
            self.reload.do(self.run, self.transport)
        return list(logs)


def test_the_rate_and_the_own_events_change_at_once_and_the_rest_is_named() -> None:
    scene = Scene()
    fresh = options(store_use_relay_dsn_sample_rate=0.5, self_reporting=False, workers=9, group="g")
    scene.sources = fresh
    (entry,) = scene.hang_up()
    assert entry["event"] == "configuration_reloaded"
    assert entry["changed"] == ["store_use_relay_dsn_sample_rate", "self_reporting"]
    assert entry["needs_restart"] == ["group", "workers"]
    assert scene.changes == [(0.5, False)]
    assert scene.pool_changes == [fresh]
    (again,) = scene.hang_up()
    assert (again["changed"], again["needs_restart"]) == ([], ["group", "workers"])
    assert len(scene.changes) == 1


def test_without_a_signal_nothing_is_read() -> None:
    scene = Scene()
    scene.sources = ConfigurationError("never read")
    with structlog.testing.capture_logs() as logs:
        scene.reload.do(scene.run, scene.transport)
    assert logs == []


@pytest.mark.parametrize(
    "broken",
    [
        ConfigurationError("config.yml:3:1: not valid YAML"),
        # Each is valid; together, most messages would have no destination.
        options(upstream_dsn=None, store_use_relay_dsn_sample_rate=0.5),
    ],
)
def test_sources_that_are_wrong_change_nothing(broken: Options | ConfigurationError) -> None:
    scene = Scene()
    scene.sources = broken
    (entry,) = scene.hang_up()
    assert (entry["event"], entry["log_level"]) == ("configuration_not_reloaded", "error")
    assert entry["error"]
    assert not scene.changes
    assert not scene.pool_changes
    scene.sources = options(store_use_relay_dsn_sample_rate=1)
    assert scene.hang_up()[0]["changed"] == ["store_use_relay_dsn_sample_rate"]


def test_reporting_that_was_off_at_the_start_needs_a_restart() -> None:
    scene = Scene(self_reporting=False)
    scene.sources = options(self_reporting=True)
    (entry,) = scene.hang_up()
    assert (entry["changed"], entry["needs_restart"]) == ([], ["self_reporting"])


def test_a_terminal_that_was_closed_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_module, "_has_terminal", lambda: True)
    scene = Scene()
    assert scene.hang_up()[0]["event"] == "configuration_reloaded"
    monkeypatch.setattr(reload_module, "_has_terminal", lambda: False)
    assert scene.hang_up() == []
    assert scene.ended == ["SIGHUP: the terminal was closed"]
