"""``configure_sdk``: the transport from its options, and own errors that go through it."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.tracing_utils import has_tracing_enabled

from consumer_fleet.bootstrap.configure_sdk import (
    SDK_SETTINGS,
    configure_sdk,
    make_before_send,
)
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.capture.transport import MultiplexingTransport

UPSTREAM = "http://up@127.0.0.1:1/1"
SAAS = "http://saas@127.0.0.1:1/2"


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest(given), {}).options


@pytest.fixture
def made() -> Iterator[list[MultiplexingTransport]]:
    """Transports to end with the test; the SDK is left as it was."""
    transports: list[MultiplexingTransport] = []
    yield transports
    for transport in transports:
        transport.kill()
    sentry_sdk.get_global_scope().set_client(None)


@pytest.fixture
def configured(made: list[MultiplexingTransport]) -> Any:
    def configure(role: Any = "worker", **given: object) -> MultiplexingTransport:
        transport = configure_sdk(options(**given), role, worker_number=2)
        assert transport is not None
        made.append(transport)
        return transport

    return configure


def test_without_a_dsn_there_is_no_transport_and_no_sdk() -> None:
    assert configure_sdk(options(), "parent") is None
    assert not sentry_sdk.get_client().is_active()


def test_each_dsn_is_a_destination_with_its_own_options(configured: Any) -> None:
    transport = configured(
        upstream_dsn=UPSTREAM, saas_dsn=SAAS, saas_delivery="best-effort", self_reporting=False
    )
    assert [status.name for status in transport.statuses()] == ["upstream", "saas"]
    assert transport._upstream.required is True
    assert transport._saas.required is False
    alone = configured(saas_dsn=SAAS, self_reporting=False)
    assert [status.name for status in alone.statuses()] == ["saas"]


def test_the_parents_transport_delivers_by_itself_and_a_workers_is_driven(configured: Any) -> None:
    assert configured("worker", upstream_dsn=UPSTREAM)._thread is None
    assert configured("parent", upstream_dsn=UPSTREAM)._thread is not None


@pytest.mark.parametrize("given", [{"upstream_dsn": UPSTREAM}, {"saas_dsn": SAAS}])
def test_own_errors_are_captured_through_the_transport(
    configured: Any, given: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[Any] = []
    monkeypatch.setattr(
        MultiplexingTransport, "capture_envelope", lambda _self, envelope: captured.append(envelope)
    )
    transport = configured(**given)
    assert sentry_sdk.get_client().transport is transport
    # The name is one that the SDK's own scrubber does not know.
    message = "private" + "payload"
    try:
        raise ValueError(len(message))
    except ValueError as error:
        sentry_sdk.capture_exception(error)
    (envelope,) = captured
    event = envelope.get_event()
    assert event["tags"] == {"role": "worker", "worker": "2"}
    assert event["release"].startswith("consumer-fleet@")
    assert "privatepayload" not in str(event), "local variables stay here"


def test_nothing_of_our_own_is_captured_without_self_reporting(configured: Any) -> None:
    configured(upstream_dsn=UPSTREAM, self_reporting=False)
    assert not sentry_sdk.get_client().is_active()


def test_log_lines_become_breadcrumbs_but_never_events(
    configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[Any] = []
    monkeypatch.setattr(
        MultiplexingTransport, "capture_envelope", lambda _self, envelope: captured.append(envelope)
    )
    configured(upstream_dsn=UPSTREAM)
    sentry_sdk.get_isolation_scope().clear_breadcrumbs()
    logging.getLogger("fleet.somewhere").error("delivery failed")
    assert captured == []
    sentry_sdk.capture_message("afterwards")
    crumbs = captured[0].get_event()["breadcrumbs"]["values"]
    assert [crumb["message"] for crumb in crumbs] == ["delivery failed"]


def test_the_shared_settings_are_never_changed(made: list[MultiplexingTransport]) -> None:
    settings = {**copy.deepcopy(dict(SDK_SETTINGS)), "_experiments": {"nested": {"a": 1}}}
    before = copy.deepcopy(settings)
    transport = configure_sdk(options(upstream_dsn=UPSTREAM), "worker", settings=settings)
    assert transport is not None
    made.append(transport)
    sentry_sdk.get_client().options["_experiments"]["nested"]["a"] = 2
    sentry_sdk.get_client().options["ignore_errors"].append(ValueError)
    assert settings == before


def test_before_send_keeps_an_events_own_tags() -> None:
    event = make_before_send("parent", None)({"tags": {"role": "mine", "a": "b"}}, {})
    assert event == {"tags": {"role": "mine", "a": "b"}}
    assert make_before_send("worker", 0)({}, {}) == {"tags": {"role": "worker", "worker": "0"}}


@pytest.mark.parametrize("rate", [0, 0.5])
def test_without_a_rate_the_sdk_traces_nothing_at_all(configured: Any, rate: float) -> None:
    transport = configured(upstream_dsn=UPSTREAM, traces_sample_rate=rate)
    assert has_tracing_enabled(sentry_sdk.get_client().options) is (rate > 0)
    assert transport.parsed_dsn.public_key == "up", "traces carry it"


def test_a_workers_boot_imports_neither_django_nor_arroyo_nor_a_kafka_client() -> None:
    code = """
import sys
from consumer_fleet.bootstrap.configure import Bootstrap
from consumer_fleet.bootstrap.options import Options
options = Options(bootstrap_servers="k:9092", upstream_dsn="http://key@127.0.0.1:1/1")
app = Bootstrap().configure(options, role="worker", worker_number=0, environ={})
heavy = ("django.conf", "arroyo", "confluent_kafka", "datadog", "starlette", "sentry_kafka_schemas")
print(app.transport is not None, [name for name in heavy if name in sys.modules])
"""
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert completed.stdout.strip() == "True []"


def test_the_sdks_spotlight_module_can_still_be_imported_afterwards(configured: Any) -> None:
    sys.modules.pop("sentry_sdk.spotlight", None)
    configured(upstream_dsn=UPSTREAM)
    assert "sentry_sdk.spotlight" not in sys.modules
