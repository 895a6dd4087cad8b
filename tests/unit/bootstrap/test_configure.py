"""``configure``: once per process, retried after a failure, with Django where it is asked for."""

from __future__ import annotations

import logging
import pickle
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sentry_sdk
import structlog

from consumer_fleet.bootstrap import configure as configure_module
from consumer_fleet.bootstrap.configure import App, Bootstrap
from consumer_fleet.bootstrap.logging_setup import FleetHandler
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.errors import ConfigurationError, ServiceError

ROOT = Path(__file__).parents[3]
SECRET = "hunter2-very-secret"


def real(**given: object) -> Options:
    """Options that deliver. Nothing listens at port 1, and nothing is sent in these tests."""
    dsn = f"http://{SECRET}@127.0.0.1:1/1"
    own = {"bootstrap_servers": "localhost:9092", "upstream_dsn": dsn}
    return resolve_options(OptionsRequest({**own, **given}), {}).options


@pytest.fixture
def bootstrap() -> Iterator[Bootstrap]:
    """A process's bootstrap; the traces of a boot in the test's process are removed."""
    former = Bootstrap()
    yield former
    if former._app is not None and former._app.transport is not None:
        former._app.transport.kill()
    sentry_sdk.get_global_scope().set_client(None)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, FleetHandler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_second_call_returns_the_same_app(bootstrap: Bootstrap) -> None:
    first = bootstrap.configure(Options(group="a"), environ={})
    assert bootstrap.configure(Options(group="b"), environ={}) is first
    assert first.options.group == "a"


def test_a_plugin_that_configures_is_an_error_and_no_deadlock(
    bootstrap: Bootstrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[ConfigurationError] = []

    def plugin(_options: Options) -> list[object]:
        try:
            bootstrap.configure(Options(), environ={})
        except ConfigurationError as error:
            errors.append(error)
        return []

    monkeypatch.setattr(configure_module, "load_plugins", plugin)
    thread = threading.Thread(
        target=bootstrap.configure, args=(Options(),), kwargs={"environ": {}}, daemon=True
    )
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert "configure was called again" in str(errors[0])
    assert bootstrap.configure(Options(), environ={}).options == Options()


def test_concurrent_calls_boot_once(bootstrap: Bootstrap) -> None:
    apps: list[App] = []
    threads = [
        threading.Thread(target=lambda: apps.append(bootstrap.configure(Options(), environ={})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(apps) == 4
    assert len({id(app) for app in apps}) == 1


def test_the_guard_is_set_last(bootstrap: Bootstrap, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[App | None] = []

    def initialize_app(*_args: object) -> None:
        seen.append(bootstrap._app)

    monkeypatch.setattr(configure_module, "initialize_app", initialize_app)
    app = bootstrap.configure(Options(), environ={})
    assert seen == [None]
    assert bootstrap._app is app


def test_a_failed_configure_can_be_retried(bootstrap: Bootstrap, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(ServiceError, match="statsd"):
        bootstrap.configure(real(statsd_socket_path=missing), environ={})
    with pytest.raises(ConfigurationError, match="no DSN"):
        bootstrap.configure(Options(bootstrap_servers=("localhost:9092",)), environ={})
    app = bootstrap.configure(real(), environ={})
    assert app.transport is not None


def test_a_failed_configure_leaves_no_delivery_thread_behind(
    bootstrap: Bootstrap, tmp_path: Path
) -> None:
    with pytest.raises(ServiceError):
        bootstrap.configure(real(ca_file=tmp_path / "missing"), environ={})
    for thread in threading.enumerate():
        if thread.name == "delivery":
            thread.join(timeout=10)
            assert not thread.is_alive()


def test_an_app_is_frozen_and_shows_no_secret(bootstrap: Bootstrap) -> None:
    app = bootstrap.configure(real(), environ={})
    assert SECRET not in repr(app)
    with pytest.raises(AttributeError):
        app.transport = None  # type: ignore[misc]  # the point of the test


def test_a_worker_boots_with_its_parents_options_whatever_its_sources_say(
    bootstrap: Bootstrap, tmp_path: Path
) -> None:
    config = tmp_path / "config.yml"
    config.write_text("broken: [")
    parent = bootstrap.configure(real(group="parents"), environ={})
    environ = {"CONSUMER_CONF": str(config), "CONSUMER_GROUP": "other"}
    received = pickle.loads(pickle.dumps(parent.options))
    worker = Bootstrap().configure(received, role="worker", worker_number=1, environ=environ)
    assert worker.options == parent.options
    assert worker.transport is not None
    worker.transport.kill()


def test_no_live_check_happens_in_a_worker(bootstrap: Bootstrap, tmp_path: Path) -> None:
    given = real(
        statsd_socket_path=str(tmp_path / "missing"),
        snuba_url="http://127.0.0.1:1",
        log_level="error",
    )
    app = bootstrap.configure(given, environ={}, role="worker", worker_number=0)
    assert app.options.snuba_url == "http://127.0.0.1:1"


def test_own_warnings_are_visible(bootstrap: Bootstrap) -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        bootstrap.configure(Options(), environ={})
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn_explicit(
                "old", DeprecationWarning, "f.py", 1, module="consumer_fleet.kafka"
            )
            warnings.warn_explicit("old", DeprecationWarning, "f.py", 1, module="elsewhere")
    assert len(caught) == 1
