"""``initialize_app``: the order of its steps, logging, plugins, services and warnings."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import certifi
import pytest
import sentry_sdk
import structlog

from consumer_fleet import metrics
from consumer_fleet.bootstrap import configure as module
from consumer_fleet.bootstrap.configure import initialize_app
from consumer_fleet.bootstrap.logging_setup import (
    FleetHandler,
    LogFormat,
    configure_logging,
    framed,
)
from consumer_fleet.bootstrap.option_checks import dangerous_modes
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.bootstrap.services import (
    PluginRegistry,
    builtin_services,
    load_plugins,
    setup_services,
)
from consumer_fleet.errors import ConfigurationError, ServiceError

DSN = "https://publickey@127.0.0.1:1/1"
REAL = {"bootstrap_servers": "localhost:9092", "upstream_dsn": DSN}


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest(given), {}).options


@pytest.fixture(autouse=True)
def _process_state() -> Iterator[None]:
    """Remove the traces of a boot from the test's process."""
    yield
    sentry_sdk.get_global_scope().set_client(None)
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, FleetHandler)]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    logging.captureWarnings(False)
    structlog.reset_defaults()


# The order

STEPS = [
    "_buffer_by_line",
    "configure_logging",
    "print_framed",
    "configure_metrics",
    "load_plugins",
    "check_destinations",
    "validate_snuba",
    "configure_sdk",
    "setup_services",
]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps, as they are taken; none does anything."""
    taken: list[str] = []

    def record(name: str, result: object = None) -> Any:
        def step(*_args: object, **_more: object) -> object:
            taken.append(name)
            return result

        return step

    for name in STEPS:
        target: object = metrics if name == "configure_metrics" else module
        services: list[object] | None = [] if name == "load_plugins" else None
        monkeypatch.setattr(target, name, record(name, services))
    return taken


def test_the_steps_are_taken_in_their_documented_order(steps: list[str]) -> None:
    initialize_app(options(log_level="debug", no_dlq=True), "parent")
    assert steps == STEPS


def test_a_worker_repeats_no_warning(steps: list[str]) -> None:
    initialize_app(options(log_level="debug", no_dlq=True), "worker", 1)
    assert steps == [step for step in STEPS if step != "print_framed"]


def test_a_step_that_fails_keeps_later_steps_from_being_taken(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise ConfigurationError("no")

    monkeypatch.setattr(module, "validate_snuba", fail)
    with pytest.raises(ConfigurationError):
        initialize_app(options(), "parent")
    assert steps[-1] == "check_destinations"


def test_output_is_buffered_by_line_only_when_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    for level, expected in (("info", False), ("debug", True)):
        stdout = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(sys, "stdout", stdout)
        initialize_app(options(log_level=level), "worker")
        assert stdout.line_buffering is expected


def test_brokers_without_a_dsn_stop_the_boot() -> None:
    with pytest.raises(ConfigurationError, match="no DSN to deliver to"):
        initialize_app(options(bootstrap_servers="kafka:9092"), "parent")


def test_the_transport_is_ended_when_a_later_step_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    class Transport:
        def kill(self) -> None:
            ended.append(True)

    monkeypatch.setattr(module, "configure_sdk", lambda *_args: Transport())
    with pytest.raises(ServiceError):
        initialize_app(options(healthcheck_file="/no/such/directory/file"), "parent")
    assert ended == [True]
    initialize_app(options(), "parent")
    assert ended == [True], "a boot that succeeds keeps its transport"


# Dangerous modes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"no_dlq": True}, "no_dlq"),
        ({**REAL, "upstream_delivery": "best-effort"}, "upstream_delivery best-effort"),
        ({**REAL, "saas_dsn": DSN}, "saas_dsn is given, but"),
        ({"auto_offset_reset": "latest"}, "auto_offset_reset latest"),
        ({"skip_service_validation": True}, "skip_service_validation"),
        ({"upstream_dsn": "http://key@sentry.example/1"}, "upstream_dsn uses http"),
    ],
)
def test_a_dangerous_choice_is_framed_on_stderr(
    given: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (danger,) = dangerous_modes(options(**given))
    assert danger.startswith(said)
    given = {
        **given,
        **{key: REAL[key] for key in REAL if "upstream_dsn" in given and key not in given},
    }
    given["self_reporting"] = False
    transport = initialize_app(options(**given), "parent")
    if transport is not None:
        transport.kill()
    assert danger in capsys.readouterr().err


def test_a_frame_is_as_wide_as_its_longest_line() -> None:
    assert framed("title", ["longer than it"]) == (
        "+----------------+\n| TITLE          |\n|                |\n"
        "| longer than it |\n+----------------+"
    )


# Logging


def test_json_logs_have_one_object_per_line_with_event_and_fields() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream=stream)
    structlog.get_logger("fleet.x").warning("destination_paused", status=401)
    structlog.get_logger("fleet.x").debug("too_detailed")
    (line,) = stream.getvalue().splitlines()
    logged = json.loads(line)
    assert logged.pop("timestamp").endswith("Z")
    assert logged == {
        "event": "destination_paused",
        "status": 401,
        "level": "warning",
        "logger": "fleet.x",
    }


def test_the_standard_librarys_loggers_share_the_handler() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream=stream)
    logging.getLogger("arroyo.processing").warning("paused %s", "p0", extra={"partition": 0})
    logged = json.loads(stream.getvalue())
    assert logged["event"] == "paused p0"
    assert logged["logger"] == "arroyo.processing"
    assert logged["partition"] == 0


def test_warnings_are_logged() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging("json", "info", stream=stream)
        warnings.warn("old spelling", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "old spelling" in json.loads(stream.getvalue())["event"]


def test_a_workers_lines_carry_its_number() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", worker_number=3, stream=stream)
    structlog.get_logger().info("a")
    logging.getLogger("b").info("b")
    assert [json.loads(line)["worker"] for line in stream.getvalue().splitlines()] == [3, 3]


def test_human_logs_are_not_json_and_uncoloured_off_a_terminal() -> None:
    stream = io.StringIO()
    configure_logging("human", "info", stream=stream)
    structlog.get_logger().info("started", workers=2)
    assert "started" in stream.getvalue()
    assert "workers=2" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_nothing_that_is_logged_moves_a_terminals_cursor() -> None:
    stream = io.StringIO()
    configure_logging("human", "info", stream=stream)
    structlog.get_logger().info("replay_rejected", detail="a\x1b[2J\x07")
    logging.getLogger("lib").info("said %s", "\x1b]0;title\x07")
    try:
        raise ValueError("\x9b2J")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert all(line.isprintable() for line in stream.getvalue().split("\n")), stream.getvalue()
    assert "detail=a\\x1b[2J\\x07" in stream.getvalue()
    assert len(stream.getvalue().splitlines()) > 4, "the trace has lines of its own"


@pytest.mark.parametrize(("is_terminal", "is_json"), [(False, True), (True, False)])
def test_without_a_format_the_terminal_decides(is_terminal: bool, is_json: bool) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    stream = Stream()
    configure_logging(None, "info", stream=stream)
    structlog.get_logger().info("started")
    assert stream.getvalue().startswith("{") is is_json


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_neither_credentials_nor_local_variables_are_logged(log_format: LogFormat) -> None:
    stream = io.StringIO()
    configure_logging(log_format, "info", stream=stream)

    def fail() -> None:
        payload = "private" + "payload"
        raise ValueError(len(payload))

    log = structlog.get_logger()
    log.info("connecting", url="https://hunter2@sentry.example/1", who="me@example.org")
    logging.getLogger("lib").info("POST http://hunter2:x@sentry.example/")
    try:
        fail()
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "me@example.org" in text
    assert "ValueError" in text
    assert "privatepayload" not in text


def test_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("json", "info", stream=first)
    configure_logging("json", "info", stream=second)
    structlog.get_logger().info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


@pytest.mark.parametrize("given", [{"log_format": "xml"}, {"log_level": "loud"}])
def test_an_unknown_format_or_level_is_an_error(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"--log-\w+ .* should be .*(human|debug)"):
        options(**given)


# Plugins


class FakeService:
    """A service that notes its calls, and fails where the test wants it."""

    def __init__(self, name: str, calls: list[str], fail_at: str = "") -> None:
        self.name = name
        self._calls = calls
        self._fail_at = fail_at

    def validate(self) -> None:
        self._do("validate")

    def setup(self) -> None:
        self._do("setup")

    def _do(self, step: str) -> None:
        self._calls.append(f"{self.name}.{step}")
        if step == self._fail_at:
            raise RuntimeError("no connection")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """A good plugin; others fail after adding a service, do not exist, or exit."""

    def good(registry: PluginRegistry) -> None:
        registry.add_service(FakeService("good", []))

    def bad(registry: PluginRegistry) -> None:
        registry.add_service(FakeService("bad", []))
        raise KeyError("missing")

    def exits(registry: PluginRegistry) -> None:
        sys.exit(3)

    provider = ModuleType("fleet_test_plugins")
    provider.__dict__.update(good=good, bad=bad, exits=exits)
    monkeypatch.setitem(sys.modules, "fleet_test_plugins", provider)
    group = "consumer_fleet.plugins"
    return [
        EntryPoint("z-good", "fleet_test_plugins:good", group),
        EntryPoint("a-bad", "fleet_test_plugins:bad", group),
        EntryPoint("absent", "fleet_no_such_module:register", group),
        EntryPoint("exits", "fleet_test_plugins:exits", group),
    ]


def test_a_broken_plugin_is_reported_and_skipped_with_all_it_added(
    plugins: list[EntryPoint],
) -> None:
    with structlog.testing.capture_logs() as logs:
        services = load_plugins(options(), plugins)
    assert [service.name for service in services] == ["good"]
    skipped = [entry["plugin"] for entry in logs if entry["event"] == "plugin_skipped"]
    assert skipped == ["a-bad", "absent", "exits"]


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_broken_plugin_stops_the_boot_when_plugins_are_strict(
    index: int, plugins: list[EntryPoint]
) -> None:
    broken = plugins[index]
    with pytest.raises(ConfigurationError, match=broken.name):
        load_plugins(options(plugins_strict=True), [broken])


def test_a_plugin_measures_with_metrics_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = ModuleType("fleet_test_plugins")

    def shop(registry: PluginRegistry) -> None:
        registry.declare_metric("shop.orders", "counter", "orders", "Orders seen.", ("country",))

    def thief(registry: PluginRegistry) -> None:
        registry.declare_metric("consumer.messages", "counter", "x", "Not its own.")

    provider.__dict__.update(shop=shop, thief=thief)
    monkeypatch.setitem(sys.modules, "fleet_test_plugins", provider)
    group = "consumer_fleet.plugins"
    installed = [
        EntryPoint(name, f"fleet_test_plugins:{name}", group) for name in ("shop", "thief")
    ]
    with structlog.testing.capture_logs() as logs:
        load_plugins(options(), installed)
        load_plugins(options(), installed)
    assert {entry["plugin"] for entry in logs if entry["event"] == "plugin_skipped"} == {"thief"}
    with metrics.recorder.apart() as snapshot:
        metrics.incr("shop.orders", tags={"country": "at"}, amount=2)
    assert snapshot().total("shop.orders", country="at") == 2


# Services


def test_each_service_is_validated_then_set_up_one_after_the_other() -> None:
    calls: list[str] = []
    setup_services([FakeService("a", calls), FakeService("b", calls)], validate=True)
    assert calls == ["a.validate", "a.setup", "b.validate", "b.setup"]


def test_validation_can_be_skipped_but_set_up_never_is() -> None:
    calls: list[str] = []
    setup_services([FakeService("a", calls, fail_at="validate")], validate=False)
    assert calls == ["a.setup"]


@pytest.mark.parametrize("step", ["validate", "setup"])
def test_a_service_that_fails_is_named_and_stops_those_after_it(step: str) -> None:
    calls: list[str] = []
    services = [FakeService("cache", calls, fail_at=step), FakeService("next", calls)]
    with pytest.raises(
        ServiceError, match="service 'cache': RuntimeError: no connection"
    ) as caught:
        setup_services(services, validate=True)
    assert caught.value.service == "cache"
    assert calls[-1] == f"cache.{step}"


@pytest.mark.parametrize(
    ("role", "skip", "expected"),
    [
        ("parent", False, ["p.validate", "p.setup"]),
        ("parent", True, ["p.setup"]),
        ("worker", False, ["p.setup"]),
    ],
)
def test_services_are_validated_in_the_parent_only_and_unless_skipped(
    role: Any, skip: bool, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(module, "load_plugins", lambda _options: [FakeService("p", calls)])
    initialize_app(options(skip_service_validation=skip), role)
    assert calls == expected


def test_only_the_services_in_use_are_checked(tmp_path: Path) -> None:
    assert builtin_services(options()) == []
    given = options(statsd_host="localhost", healthcheck_file=tmp_path / "f", ca_file="x")
    assert [each.name for each in builtin_services(given)] == [
        "statsd",
        "healthcheck_file",
        "ca_file",
    ]


def test_the_needs_of_built_in_services_are_checked(tmp_path: Path) -> None:
    not_pem = tmp_path / "not.pem"
    not_pem.write_text("hello")
    bad: list[tuple[dict[str, object], str]] = [
        ({"statsd_socket_path": str(not_pem)}, "no socket at"),
        ({"statsd_host": "no such host"}, "does not resolve"),
        ({"statsd_host": "a..b"}, "does not resolve: not a valid host name"),
        ({"healthcheck_file": tmp_path / "missing" / "f"}, "does not exist"),
        ({"ca_file": tmp_path / "missing"}, "can't read"),
        ({"ca_file": not_pem}, "no PEM certificate"),
    ]
    for given, said in bad:
        with pytest.raises(ServiceError, match=said):
            setup_services(builtin_services(options(**given)), validate=True)
    good = options(
        statsd_host="127.0.0.1", healthcheck_file=tmp_path / "f", ca_file=certifi.where()
    )
    setup_services(builtin_services(good), validate=True)
    assert not (tmp_path / "f").exists()
