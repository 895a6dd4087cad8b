"""``validate_snuba``: the four cases, groups, topics, and Snuba's health."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.bootstrap.validate_snuba import (
    FEATURES_THAT_NEED_SNUBA,
    RESERVED_GROUPS,
    needing_snuba,
    validate_snuba,
)
from consumer_fleet.errors import ConfigurationError, ServiceError

SETTINGS = ("search_backend", "tagstore_backend", "tsdb_backend", "eventstream_backend")


def options(**given: object) -> Options:
    return resolve_options(OptionsRequest(given), {}).options


# The four cases


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"eventstream_backend": "snuba"},
        {"tsdb_backend": "redissnuba"},
        {"search_backend": "delegator:snuba,snuba"},
        {"search_backend": "sentry.utils.services.ServiceDelegator"},
        {"tsdb_backend": "sentry.utils.services.ServiceDelegator"},
        {
            "search_backend": "sentry.search.snuba.EventsDatasetSnubaSearchBackend",
            "tagstore_backend": "sentry.tagstore.snuba.SnubaTagStorage",
            "tsdb_backend": "sentry.tsdb.redissnuba.RedisSnubaTSDB",
            "eventstream_backend": "sentry.eventstream.kafka.KafkaEventStream",
        },
    ],
)
def test_snuba_everywhere_is_fine_and_silent(
    given: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    validate_snuba(options(**given), "parent")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("search", ["snuba", "legacy"])
def test_features_that_need_snuba_without_its_eventstream_are_listed_and_refused(
    search: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(
        eventstream_backend="legacy",
        search_backend=search,
        features="organizations:discover,performance-view,organizations:sso",
    )
    with pytest.raises(ConfigurationError, match="can't continue without Snuba"):
        validate_snuba(given, "parent")
    framed = capsys.readouterr().err
    assert "| organizations:discover " in framed
    assert "| organizations:performance-view " in framed
    assert "sso" not in framed


@pytest.mark.parametrize("search", ["snuba", "legacy"])
def test_an_eventstream_that_is_not_snubas_is_refused_with_the_four_settings(
    search: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = options(eventstream_backend="legacy", search_backend=search)
    with pytest.raises(ConfigurationError, match="eventstream_backend 'legacy'"):
        validate_snuba(given, "parent")
    framed = capsys.readouterr().err
    assert all(f"| {name}: " in framed for name in SETTINGS)


@pytest.mark.parametrize(
    "given",
    [
        {"search_backend": "postgres"},
        {"tagstore_backend": "legacy"},
        {"tagstore_backend": "sentry.utils.services.ServiceDelegator"},
        {"tsdb_backend": "redis"},
        {"search_backend": "redissnuba"},
        {"tsdb_backend": "delegator:redissnuba,redis"},
        {"tsdb_backend": "delegator:"},
    ],
)
def test_a_backend_that_is_not_snubas_next_to_its_eventstream_is_a_warning_only(
    given: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    validate_snuba(options(**given), "parent")
    framed = capsys.readouterr().err
    assert "not Snuba's" in framed
    lines = framed.strip().splitlines()
    assert len({len(line) for line in lines}) == 1, "the frame is closed"
    assert lines[0] == lines[-1]


def test_workers_check_too_but_leave_the_printing_to_the_parent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    validate_snuba(options(tsdb_backend="redis"), "worker")
    with pytest.raises(ConfigurationError):
        validate_snuba(options(eventstream_backend="legacy"), "worker")
    assert capsys.readouterr().err == ""


def test_each_listed_feature_needs_snuba() -> None:
    assert needing_snuba(FEATURES_THAT_NEED_SNUBA) == list(FEATURES_THAT_NEED_SNUBA)
    assert needing_snuba(("projects:discover",)) == []


# Groups and topics


@pytest.mark.parametrize("group", [*RESERVED_GROUPS, "snuba-consumers", "snuba-anything-at-all"])
@pytest.mark.parametrize("role", ["parent", "worker"])
def test_a_group_of_sentrys_or_snubas_own_is_refused(group: str, role: str) -> None:
    with pytest.raises(ConfigurationError, match=group):
        validate_snuba(options(group=group), role)  # type: ignore[arg-type]  # parametrized text


@pytest.mark.parametrize("group", ["consumer-fleet-events", "fleet-ingest-consumer", "my-snuba"])
def test_any_other_group_is_fine(group: str) -> None:
    validate_snuba(options(group=group), "parent")


def test_a_topic_that_snuba_reads_under_another_name_is_an_error_with_both_names() -> None:
    given = {"topic": "events", "snuba_topic_map": {"events": "events-eu"}}
    with pytest.raises(ConfigurationError, match=r"'events-eu'.*'events'"):
        validate_snuba(options(**given), "worker")
    with pytest.raises(ConfigurationError, match=r"'events-eu'.*'events-us'"):
        validate_snuba(options(**given, physical_topic="events-us"), "worker")
    validate_snuba(options(**given, physical_topic="events-eu"), "worker")


def test_topics_that_snuba_does_not_map_may_have_any_name() -> None:
    given = {"topic": "events", "physical_topic": "x", "snuba_topic_map": {"outcomes": "y"}}
    validate_snuba(options(**given), "parent")


# Health


@contextmanager
def listener(answer: bytes, drip_s: float | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server for one request: gives ``answer``, or a byte of it per ``drip_s``; b"" = never."""
    server = socket.create_server(("127.0.0.1", 0))
    requests: list[bytes] = []
    done = threading.Event()

    def serve() -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            requests.append(connection.recv(65536))
            try:
                for part in [answer] if drip_s is None else [bytes([byte]) for byte in answer]:
                    connection.sendall(part)
                    if drip_s is not None and done.wait(drip_s):
                        break
            except OSError:
                return
            if answer == b"":
                done.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", requests
    finally:
        done.set()
        # A blocked accept only ends with a connection.
        with socket.socket() as knock:
            knock.connect_ex(server.getsockname())
        thread.join(timeout=10)
        server.close()


def answer_of(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()


def test_a_healthy_snuba_is_asked_at_its_health_path() -> None:
    with listener(answer_of("200 OK")) as (url, requests):
        validate_snuba(options(snuba_url=f"{url}/"), "parent")
    assert requests[0].startswith(b"GET /health HTTP/1.1\r\n")


def test_the_certificates_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    # They need no reading here: it is the name that pycurl might not take.
    with listener(answer_of("200 OK")) as (url, asked):
        validate_snuba(options(snuba_url=url, ca_file=tmp_path / "Zertifik\u00e4te.pem"), "parent")
    assert asked


@pytest.mark.parametrize("status", ["502 Bad Gateway", "302 Found", "404 Not Found"])
def test_a_snuba_that_is_not_healthy_is_an_error_with_its_status(status: str) -> None:
    with listener(answer_of(status)) as (url, _), pytest.raises(ServiceError, match=status[:3]):
        validate_snuba(options(snuba_url=url), "parent")


@pytest.mark.parametrize(("answer", "drip_s"), [(b"", None), (answer_of("200 OK") * 10, 0.05)])
def test_a_snuba_that_never_answers_is_an_error_within_the_time_limit(
    answer: bytes, drip_s: float | None
) -> None:
    with listener(answer, drip_s) as (url, _):
        start = time.monotonic()
        with pytest.raises(ServiceError, match="service 'snuba': no answer"):
            validate_snuba(options(snuba_url=url, snuba_timeout_s=0.3), "parent")
        took_s = time.monotonic() - start
    assert 0.25 < took_s < 15  # the silent one ends after 30 s


def test_a_snuba_that_is_not_there_is_an_error_that_keeps_the_password() -> None:
    with pytest.raises(ServiceError) as caught:
        validate_snuba(options(snuba_url="http://user:hunter2@127.0.0.1:1"), "parent")
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:1/health" in str(caught.value)


@pytest.mark.parametrize(("role", "skip"), [("worker", False), ("parent", True)])
def test_nobody_is_asked_in_a_worker_or_when_validation_is_skipped(role: str, skip: bool) -> None:
    given = options(snuba_url="http://127.0.0.1:1", skip_service_validation=skip)
    validate_snuba(given, role)  # type: ignore[arg-type]  # parametrized text
