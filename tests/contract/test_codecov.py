"""Coverage from Codecov, against a server that follows the API's documentation."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.coverage import build_coverage
from consumer_fleet.inspector.coverage.service import (
    CodecovSettings,
    Coverage,
    CoverageQuery,
    CoverageService,
    CoverageSettings,
    CoverageStatus,
    Line,
    PathMapping,
)
from consumer_fleet.inspector.receiver import Receiver, View
from consumer_fleet.inspector.services import CallTimings, ambient_request
from tests.support.codecov_api import SLUG, TOKEN, Codecov, reply
from tests.support.inspecting import get
from tests.support.processes import wait_until

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PATH = "shop/models.py"
QUERY = CoverageQuery(PATH, commit=COMMIT, abs_path=f"/srv/{PATH}")
LINES = [[1, 0], [2, 1], [7, 2]]
FOUND = ((1, Line.COVERED), (2, Line.UNCOVERED), (7, Line.PARTIAL))
WAIT_S = 10.0


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def codecov() -> Iterator[Codecov]:
    with Codecov({f"sha:{COMMIT}": {PATH: LINES}}) as codecov:
        yield codecov


@pytest.fixture
def build(codecov: Codecov) -> Iterator[Callable[..., CoverageService]]:
    """Builds services that use that server, and closes them."""
    services: list[CoverageService] = []

    def make(
        mappings: tuple[PathMapping, ...] = (),
        reports: tuple[Path, ...] = (),
        **settings: Any,
    ) -> CoverageService:
        known: dict[str, Any] = {
            "token": TOKEN,
            "slug": SLUG,
            "base_url": codecov.url,
            "timeout_s": 5.0,
        }
        chosen = CodecovSettings(**{**known, **settings})
        services.append(build_coverage(CoverageSettings(reports, mappings, chosen)))
        return services[-1]

    yield make
    for service in services:
        service.close()


def lcov(path: Path, name: str) -> Path:
    path.write_text(f"SF:{name}\nDA:1,1\nend_of_record\n")
    return path


Build = Callable[..., CoverageService]


# -- what is asked and answered -------------------------------------------------------------------


def test_a_commits_report_is_found(codecov: Codecov, build: Build) -> None:
    assert build().coverage(QUERY) == Coverage(
        CoverageStatus.EXISTS,
        FOUND,
        url=f"https://app.codecov.io/gh/{SLUG}/commit/{COMMIT}/blob/{PATH}",
        provider="codecov",
    )
    (asked,) = codecov.asked
    assert asked.target == f"/api/v2/github/acme/repos/shop/file_report/{PATH}?sha={COMMIT}"
    assert asked.authorization == f"Bearer {TOKEN}"


@pytest.mark.parametrize("service", ["gh", "github"])
def test_both_names_of_a_git_host_are_known(build: Build, service: str) -> None:
    assert build(service=service).coverage(QUERY).status is CoverageStatus.EXISTS


@pytest.mark.parametrize(
    ("configured", "asked_for", "ref"),
    [
        (None, None, "branch:main"),
        ("stable", None, "branch:stable"),
        ("stable", "feature/a b", "branch:feature/a b"),
    ],
)
def test_an_unknown_commit_falls_back_to_the_branch_with_a_note(
    codecov: Codecov, build: Build, configured: str | None, asked_for: str | None, ref: str
) -> None:
    codecov.reports = {ref: {PATH: LINES}}
    query = CoverageQuery(PATH, commit=COMMIT, branch=asked_for)
    found = build(branch=configured).coverage(query)
    assert codecov.refs == [f"sha:{COMMIT}", ref]
    assert found.lines == FOUND
    assert found.reason is not None
    assert COMMIT in found.reason
    assert (asked_for or configured or "default branch") in found.reason


def test_without_a_commit_the_branch_is_requested_at_once(codecov: Codecov, build: Build) -> None:
    codecov.reports = {"branch:stable": {PATH: LINES}}
    found = build(branch="stable").coverage(CoverageQuery(PATH))
    assert codecov.refs == ["branch:stable"]
    assert (found.lines, found.reason) == (FOUND, None)


def test_a_file_in_neither_has_no_data(codecov: Codecov, build: Build) -> None:
    codecov.reports = {}
    found = build(branch="stable").coverage(QUERY)
    assert codecov.refs == [f"sha:{COMMIT}", "branch:stable"]
    assert found == Coverage(
        CoverageStatus.NO_DATA,
        provider="codecov",
        reason=f"Codecov has no report for {PATH} at commit {COMMIT} or on branch stable",
    )


@pytest.mark.parametrize("lines", [[], [[]], None])
def test_a_report_without_lines_has_no_data(codecov: Codecov, build: Build, lines: object) -> None:
    codecov.answer = lambda handler: reply(handler, 200, {"line_coverage": lines})
    found = build().coverage(QUERY)
    assert (found.status, found.lines) == (CoverageStatus.NO_DATA, ())


def test_lines_with_unknown_codes_are_left_out(codecov: Codecov, build: Build) -> None:
    lines = [[1, 0], [2, 3], [3, -1], ["4", 0], [5, None], [6, 2]]
    codecov.answer = lambda handler: reply(handler, 200, {"line_coverage": lines})
    assert build().coverage(QUERY).lines == ((1, Line.COVERED), (6, Line.PARTIAL))


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", 7, None])
def test_only_a_web_address_is_returned(codecov: Codecov, build: Build, url: object) -> None:
    document = {"line_coverage": LINES, "commit_file_url": url}
    codecov.answer = lambda handler: reply(handler, 200, document)
    found = build().coverage(QUERY)
    assert (found.lines, found.url) == (FOUND, None)


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("a b/ü?#%.py", "a%20b/%C3%BC%3F%23%25.py"),
        ("../../../../../secrets", "secrets"),
        ("%2e%2e/%2f.py", "%252e%252e/%252f.py"),
        ("x?sha=1&y.py", "x%3Fsha%3D1%26y.py"),
        ("a\r\nHost: evil\r\n.py", "a%0D%0AHost%3A%20evil%0D%0A.py"),
        ("\ud800.py", "%3F.py"),
    ],
)
def test_an_events_path_stays_a_path_of_the_repository(
    codecov: Codecov, build: Build, file: str, target: str
) -> None:
    build().coverage(CoverageQuery(file, commit="a&branch=b\r\n"))
    prefix = "/api/v2/github/acme/repos/shop/file_report/"
    assert [asked.target for asked in codecov.asked] == [
        f"{prefix}{target}?sha=a%26branch%3Db%0D%0A",
        f"{prefix}{target}",
    ]


def test_a_mapping_gives_the_path_in_the_repository(codecov: Codecov, build: Build) -> None:
    path = "backend/shop/models.py"
    codecov.reports = {f"sha:{COMMIT}": {path: LINES}}
    found = build((PathMapping("/srv", "backend"),)).coverage(QUERY)
    assert found.status is CoverageStatus.EXISTS
    assert [asked.path for asked in codecov.asked] == [path]


def test_without_a_repository_path_no_request_is_sent(codecov: Codecov, build: Build) -> None:
    found = build().coverage(CoverageQuery("/srv/main.js", commit=COMMIT))
    assert (found.status, codecov.asked) == (CoverageStatus.NO_DATA, [])
    assert found.reason is not None
    assert "/srv/main.js" in found.reason


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_no_integration(codecov: Codecov, build: Build, status: int) -> None:
    codecov.answer = lambda handler: reply(handler, status, {"detail": f"bad {TOKEN}"})
    assert build().coverage(QUERY) == Coverage(
        CoverageStatus.NO_INTEGRATION,
        provider="codecov",
        reason=f"Codecov refused the token (HTTP {status})",
    )
    assert codecov.refs == [f"sha:{COMMIT}"]


@pytest.mark.parametrize("status", [204, 400, 429, 500, 503])
def test_any_other_response_has_no_data_and_no_fallback(
    codecov: Codecov, build: Build, status: int
) -> None:
    codecov.answer = lambda handler: reply(handler, status, b"" if status == 204 else {})
    found = build().coverage(QUERY)
    assert (found.status, found.reason) == (
        CoverageStatus.NO_DATA,
        f"Codecov answered HTTP {status}",
    )
    assert codecov.refs == [f"sha:{COMMIT}"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b"null",
        b'{"line_coverage": 1}',
        b'{"line_coverage": [1]}',
        b'{"line_coverage": [[1, []]]}',
        b'{"line_coverage": "abc"}',
        b'{"line_coverage": [[1, 2, 3]]}',
    ],
)
def test_a_response_that_is_not_a_report_has_no_data(
    codecov: Codecov, build: Build, body: bytes
) -> None:
    codecov.answer = lambda handler: reply(handler, 200, body)
    found = build().coverage(QUERY)
    assert (found.status, found.reason) == (
        CoverageStatus.NO_DATA,
        "Codecov's answer is not a file report",
    )


def test_the_ca_file_may_have_any_path(
    codecov: Codecov, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certifi.where", lambda: str(tmp_path / "Zertifik\u00e4te.pem"))
    # Only the path matters: pycurl might refuse it.
    build().coverage(QUERY)
    assert codecov.asked


def test_a_redirect_is_not_followed(codecov: Codecov, build: Build) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{codecov.url}/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    codecov.answer = redirect
    assert build().coverage(QUERY).reason == "Codecov answered HTTP 302"
    assert len(codecov.asked) == 1


def test_no_answer_ends_at_the_time_limit(codecov: Codecov, build: Build) -> None:
    stop = threading.Event()

    def hang(_handler: BaseHTTPRequestHandler) -> None:
        stop.wait(60)

    codecov.answer = hang
    started_s = time.monotonic()
    found = build(timeout_s=0.3).coverage(QUERY)
    took_s = time.monotonic() - started_s
    stop.set()
    assert (found.status, found.reason) == (
        CoverageStatus.NO_DATA,
        "Codecov: no answer within 0.3 s",
    )
    assert 0.25 <= took_s < 30


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_slowly_dripping_response_ends_at_the_time_limit_too(
    codecov: Codecov, build: Build, part: str
) -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        if part == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stop.wait(0.02):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return

    codecov.answer = drip
    started_s = time.monotonic()
    found = build(timeout_s=0.4).coverage(QUERY)
    took_s = time.monotonic() - started_s
    stop.set()
    assert found.reason == "Codecov: no answer within 0.4 s"
    assert 0.35 <= took_s < 30  # to send it all takes hours


def test_a_response_is_read_up_to_a_limit(codecov: Codecov, build: Build) -> None:
    sent: list[int] = []

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while len(sent) < 1024:
                handler.wfile.write(b" " * (1 << 20))
                sent.append(1 << 20)
        except OSError:
            return

    codecov.answer = flood
    found = build(timeout_s=20).coverage(QUERY)
    assert found.reason == f"Codecov: the answer is longer than {8 << 20} bytes"
    assert len(sent) < 64


@pytest.mark.timed
def test_both_requests_and_the_wait_before_them_have_one_time_limit(
    codecov: Codecov, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()

    def unknown(handler: BaseHTTPRequestHandler) -> None:
        stop.wait(1.2)
        with suppress(OSError):  # it was given up
            reply(handler, 404, {})

    codecov.answer = unknown
    service = build(timeout_s=2.0)
    with ThreadPoolExecutor(12) as pool:
        started_s = time.monotonic()
        queries = [CoverageQuery(f"{n}.py", commit=COMMIT) for n in range(12)]
        answers = [found.reason for found in pool.map(service.coverage, queries)]
        took_s = time.monotonic() - started_s
    stop.set()
    assert set(answers) == {"Codecov: no answer within 2 s"}
    assert took_s < 3.6


def test_cached_answers_are_returned_while_codecov_is_slow(
    codecov: Codecov, tmp_path: Path
) -> None:
    settings = CodecovSettings(TOKEN, SLUG, base_url=codecov.url, timeout_s=30)
    view = View(coverage=CoverageSettings((lcov(tmp_path / "l.info", "local.py"),), (), settings))
    go_on = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        go_on.wait(30)
        reply(handler, 404, {})

    with Receiver(view=view) as receiver, ThreadPoolExecutor(12) as pool:

        def ask(file: str) -> Any:
            return get(receiver, f"/api/coverage?file={file}&commit={COMMIT}").json

        assert ask(PATH)["provider"] == "codecov"
        codecov.answer = hold
        slow = [pool.submit(ask, f"slow/{n}.py") for n in range(12)]
        wait_until(lambda: len(codecov.asked) >= 5, timeout_s=10, what="the requests")
        for file, lines in (("local.py", [[1, 0]]), (PATH, LINES)):
            assert ask(file)["lineCoverage"] == lines
        assert not any(each.done() for each in slow)
        go_on.set()
        assert {each.result(WAIT_S)["status"] for each in slow} == {"NO_COVERAGE_DATA"}


@pytest.mark.timed
def test_a_stop_does_not_wait_for_codecov(
    codecov: Codecov, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    codecov.answer = lambda _handler: go_on.wait(WAIT_S)
    settings = CodecovSettings(TOKEN, SLUG, base_url=codecov.url)
    receiver = Receiver(view=View(coverage=CoverageSettings(codecov=settings)))
    receiver.start()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, receiver, "/api/coverage?file=a.py")
        wait_until(lambda: len(codecov.asked) == 1, timeout_s=10, what="the request")
        started_s = time.monotonic()
        receiver.stop()
        assert time.monotonic() - started_s < 1.5
        assert asked.result(WAIT_S).status == 503
        go_on.set()
    assert caplog.records == []


def test_an_unreachable_server_has_no_data(codecov: Codecov, build: Build) -> None:
    found = build(base_url="http://127.0.0.1:9").coverage(QUERY)
    assert found.status is CoverageStatus.NO_DATA
    assert found.reason is not None
    assert found.reason.startswith("Codecov: no answer (libcurl error 7")


# -- the token ------------------------------------------------------------------------------------


def test_the_token_is_in_no_visible_text(codecov: Codecov, build: Build) -> None:
    settings = CodecovSettings(token=TOKEN, slug=SLUG, base_url=codecov.url)
    texts = [repr(settings), repr(CoverageSettings(codecov=settings))]
    with capture_logs() as logs:
        for answer in (None, lambda handler: reply(handler, 500, {"token": TOKEN})):
            codecov.answer = answer
            texts.append(repr(build().coverage(QUERY)))
        texts.append(repr(build(base_url="http://127.0.0.1:9").coverage(QUERY)))
    texts.append(repr(logs))
    texts.extend(asked.target for asked in codecov.asked)
    assert not [text for text in texts if TOKEN in text]


@pytest.mark.parametrize(
    "bad",
    [
        {"token": ""},
        {"token": f"{TOKEN}\r\nX-Evil: 1"},
        {"token": f"{TOKEN}ü"},
        {"slug": "acme"},
        {"slug": "acme/shop/x"},
        {"slug": "/shop"},
        {"service": "sourceforge"},
        {"base_url": "ftp://codecov.example"},
        {"base_url": "codecov.example"},
        {"base_url": "https://codecov.example/?x=1"},
        {"base_url": "https://codecov.example/a b"},
        {"base_url": f"https://user:{TOKEN}@codecov.example"},
        {"timeout_s": 0},
        {"timeout_s": 61},
        {"timeout_s": float("nan")},
    ],
)
def test_invalid_settings_are_refused_without_showing_the_token(bad: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"token": TOKEN, "slug": SLUG, **bad}
    with pytest.raises(ConfigurationError) as caught:
        CodecovSettings(**settings)
    assert "Codecov" in str(caught.value)
    assert TOKEN not in str(caught.value)


# -- the cache ------------------------------------------------------------------------------------


def test_a_commits_file_is_fetched_once(codecov: Codecov, build: Build) -> None:
    service = build()
    answers = [service.coverage(QUERY) for _ in range(5)]
    assert len(codecov.asked) == 1
    assert answers == [answers[0]] * 5
    service.coverage(CoverageQuery(PATH, commit="f" * 40))
    service.coverage(CoverageQuery("shop/views.py", commit=COMMIT))
    assert len({asked.target for asked in codecov.asked}) > 1


def test_concurrent_requests_for_a_file_share_one_fetch(codecov: Codecov, build: Build) -> None:
    go_on = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        assert go_on.wait(WAIT_S)
        reply(handler, 200, {"line_coverage": LINES})

    codecov.answer = hold
    service = build()
    start = threading.Barrier(17)

    def ask() -> Coverage:
        start.wait(WAIT_S)
        return service.coverage(QUERY)

    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(ask) for _ in range(16)]
        start.wait(WAIT_S)
        go_on.set()
        answers = {future.result(WAIT_S) for future in futures}
    assert len(codecov.asked) == 1
    assert {answer.lines for answer in answers} == {FOUND}


# -- with reports on this machine -----------------------------------------------------------------


def test_a_local_report_comes_first_and_codecov_is_not_asked(
    codecov: Codecov, build: Build, tmp_path: Path
) -> None:
    service = build(reports=(lcov(tmp_path / "lcov.info", PATH),))
    timings = CallTimings()
    with ambient_request(timings):
        found = service.coverage(QUERY)
    assert (found.provider, found.lines) == ("local", ((1, Line.COVERED),))
    assert codecov.asked == []
    assert list(timings.took_ms) == ["local"]


def test_codecov_is_asked_for_files_in_no_local_report(
    codecov: Codecov, build: Build, tmp_path: Path
) -> None:
    service = build(reports=(lcov(tmp_path / "lcov.info", "other.py"), tmp_path / "none.xml"))
    timings = CallTimings()
    with ambient_request(timings):
        found = service.coverage(QUERY)
    assert (found.provider, found.lines) == ("codecov", FOUND)
    assert list(timings.took_ms) == ["codecov"]
    assert timings.took_ms["codecov"] > 0


def test_with_only_local_reports_a_missing_file_has_no_data(tmp_path: Path) -> None:
    path = lcov(tmp_path / "lcov.info", "other.py")
    service = build_coverage(CoverageSettings(reports=(path,)))
    found = service.coverage(QUERY)
    assert (found.status, found.provider) == (CoverageStatus.NO_DATA, "local")
    service.close()


def test_with_nothing_configured_there_is_no_integration() -> None:
    service = build_coverage(CoverageSettings())
    found = service.coverage(QUERY)
    assert (found.status, found.provider, found.lines) == (
        CoverageStatus.NO_INTEGRATION,
        None,
        (),
    )
    service.close()
