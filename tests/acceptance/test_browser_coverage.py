"""Coverage of lines in a browser: from a real run of coverage.py, and from Codecov."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Response, expect

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.inspector.coverage.service import CodecovSettings, CoverageSettings
from consumer_fleet.inspector.receiver import Receiver, View
from tests.support.browser import OpenPage, copy, frame, head, open_row
from tests.support.codecov_api import SLUG, TOKEN, Codecov, reply
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_event

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "f" * 40
PROGRAM = """\
def sign(number):
    if number > 0:
        return "plus"
    return "minus"


print(sign(1))
""".splitlines()
STATES = ["covered", "partial", "covered", "uncovered", "none", "none", "covered"]
TOOLTIPS = {"covered": "Covered", "partial": "Partially Covered", "uncovered": "Uncovered"}
# As Codecov codes them; the last two lines are in no report.
CODECOV_LINES = [[1, 0], [2, 2], [3, 0], [4, 1], [7, 0]]


def event(commit: str = COMMIT, folder: str = "/srv", **more: Any) -> dict[str, Any]:
    """Two frames of the program, one of another file; the program's ``sign`` is open initially."""
    frames = [
        source_frame(f"{folder}/other.py", "elsewhere", 1),
        source_frame(f"{folder}/program.py", "main", 7),
        source_frame(f"{folder}/program.py", "sign", 2),
    ]
    error = {"type": "Measured", "value": commit[:1], "stacktrace": {"frames": frames}}
    return {
        "platform": "python",
        "release": f"program@1.0+{commit}",
        "exception": {"values": [error]},
        **more,
    }


def source_frame(path: str, function: str, line: int) -> dict[str, Any]:
    return {
        "abs_path": path,
        "filename": Path(path).name,
        "function": function,
        "lineno": line,
        "pre_context": PROGRAM[: line - 1],
        "context_line": PROGRAM[line - 1],
        "post_context": PROGRAM[line:],
        "in_app": True,
    }


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectorProcess]:
    """An inspector with the report of a run that took one branch, and two of its events."""
    folder = tmp_path_factory.mktemp("measured")
    (folder / "program.py").write_text("\n".join(PROGRAM) + "\n")
    run = [sys.executable, "-m", "coverage", "run", "--branch", "program.py"]
    subprocess.run(run, cwd=folder, check=True, capture_output=True, timeout=60)
    with InspectorProcess(folder, "--coverage", ".coverage") as inspector:
        for commit in (OTHER_COMMIT, COMMIT):
            post_event(Dsn.parse(inspector.dsn), event(commit, str(folder)))
        yield inspector


def test_line_colours_match_a_real_run(visit: OpenPage, measured: InspectorProcess) -> None:
    page = visit(measured.url).page
    open_row(page, "Measured: 0")
    lines = frame(page, "sign").get_by_test_id("context-line")
    expect(lines.first).to_have_attribute("data-coverage", "covered")
    assert states(lines) == STATES
    covered, partial, _, uncovered, unmeasured = (border(lines.nth(index)) for index in range(5))
    assert len({covered, partial, uncovered, unmeasured}) == 4
    assert [border[0] for border in (covered, partial, uncovered)] == ["solid", "dashed", "solid"]


def test_each_mark_has_a_tooltip(visit: OpenPage, measured: InspectorProcess) -> None:
    page = visit(measured.url).page
    open_row(page, "Measured: 0")
    lines = frame(page, "sign").get_by_test_id("context-line")
    for index, state in enumerate(STATES):
        if state in TOOLTIPS:
            lines.nth(index).get_by_role("note").hover()
            expect(lines.nth(index).get_by_role("tooltip")).to_be_visible()
            expect(lines.nth(index).get_by_role("tooltip")).to_have_text(TOOLTIPS[state])
        else:
            expect(lines.nth(index).get_by_role("note")).to_have_count(0)


def test_coverage_is_requested_when_a_frame_unfolds_once_per_file_and_commit(
    visit: OpenPage, measured: InspectorProcess
) -> None:
    page, watch = visit(measured.url)
    open_row(page, "Measured: 0")

    def asked() -> list[tuple[str, str]]:
        paths = watch.paths("/api/coverage")
        known = ("program.py", "other.py")
        commits = (COMMIT, OTHER_COMMIT)
        return [
            next((f, c) for f in known for c in commits if f"file={f}" in path and c in path)
            for path in paths
        ]

    def unfold(function: str) -> None:
        head(frame(page, function)).click()
        expect(frame(page, function).get_by_test_id("context-line")).to_have_count(len(PROGRAM))

    shown_marks(page, "sign")
    assert asked() == [("program.py", COMMIT)]
    unfold("main")
    shown_marks(page, "main")
    with page.expect_response(lambda response: "other.py" in response.url):
        unfold("elsewhere")
    assert asked() == [("program.py", COMMIT), ("other.py", COMMIT)]
    for function in ("sign", "elsewhere"):
        head(frame(page, function)).click()
        expect(frame(page, function).get_by_test_id("context-line")).to_have_count(1)
        unfold(function)
    shown_marks(page, "sign")
    open_row(page, "Measured: f")
    expect(page.get_by_role("main").get_by_role("heading", name="Measured: f")).to_be_visible()
    shown_marks(page, "sign")
    open_row(page, "Measured: 0")
    expect(page.get_by_role("main").get_by_role("heading", name="Measured: 0")).to_be_visible()
    shown_marks(page, "sign")
    assert asked() == [
        ("program.py", COMMIT),
        ("other.py", COMMIT),
        ("program.py", OTHER_COMMIT),
    ]


def test_without_configured_coverage_none_is_requested(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    post_event(Dsn.parse(receiver.dsn), event())
    page, watch = visit(receiver.url)
    open_row(page, "Measured")
    lines = frame(page, "sign").get_by_test_id("context-line")
    expect(lines).to_have_count(len(PROGRAM))
    assert states(lines) == ["none"] * len(PROGRAM)
    assert watch.paths("/api/coverage") == []


@pytest.fixture
def codecov() -> Iterator[Codecov]:
    with Codecov({f"sha:{COMMIT}": {"program.py": CODECOV_LINES}}) as codecov:
        yield codecov


@pytest.fixture
def asking_codecov(tmp_path: Path, codecov: Codecov) -> Iterator[InspectorProcess]:
    """An inspector that uses that Codecov, and an event with coverage."""
    options = ("--codecov-repo", SLUG, "--codecov-url", codecov.url, "--codecov-branch", "stable")
    with InspectorProcess(
        tmp_path, *options, "--path-map", "/srv=", environment={"CODECOV_TOKEN": TOKEN}
    ) as inspector:
        post_event(Dsn.parse(inspector.dsn), event())
        yield inspector


def test_codecov_is_asked_by_commit_and_its_token_never_reaches_the_page(
    visit: OpenPage, codecov: Codecov, asking_codecov: InspectorProcess
) -> None:
    page = visit("about:blank").page
    answers: list[Response] = []

    def keep(answer: Response) -> None:
        answers.append(answer)

    page.on("response", keep)
    page.goto(asking_codecov.url)
    open_row(page, "Measured")
    shown_marks(page, "sign")
    assert states(frame(page, "sign").get_by_test_id("context-line")) == STATES
    assert codecov.refs == [f"sha:{COMMIT}"]
    assert codecov.asked[0].authorization == f"Bearer {TOKEN}"
    seen = [page.content(), asking_codecov.output()]
    for answer in answers:
        seen += [str(answer.all_headers()), str(answer.request.all_headers()), answer.url]
        if not answer.url.endswith("/api/stream"):  # which has no end
            seen.append(answer.text())
    assert len(seen) > 10
    assert not [text for text in seen if TOKEN in text]


def test_if_codecov_does_not_know_the_commit_the_branchs_lines_are_shown(
    visit: OpenPage, codecov: Codecov, asking_codecov: InspectorProcess
) -> None:
    codecov.reports = {"branch:stable": {"program.py": CODECOV_LINES}}
    page = visit(asking_codecov.url).page
    open_row(page, "Measured")
    shown_marks(page, "sign")
    assert states(frame(page, "sign").get_by_test_id("context-line")) == STATES
    assert codecov.refs == [f"sha:{COMMIT}", "branch:stable"]
    note = frame(page, "sign").locator(".fc-coverage-note")
    expect(note).to_contain_text(f"from branch stable: Codecov does not know commit {COMMIT}")
    copied = copy(page, note.get_by_role("button", name="Copy report URL").click)
    assert copied == f"https://app.codecov.io/gh/{SLUG}/commit/{'f' * 40}/blob/program.py"
    assert note.get_by_role("link").count() == 0


def test_the_reason_for_missing_colours_is_below_the_source(
    visit: OpenPage, codecov: Codecov, asking_codecov: InspectorProcess
) -> None:
    codecov.answer = lambda handler: reply(handler, 401, {"detail": "Invalid token."})
    page = visit(asking_codecov.url).page
    open_row(page, "Measured")
    note = frame(page, "sign").locator(".fc-coverage-note")
    expect(note).to_have_text("CoverageCodecov refused the token (HTTP 401)")
    head(frame(page, "sign")).click()
    expect(note).to_have_count(0)


def test_an_unresponsive_codecov_costs_only_the_colours(
    visit: OpenPage, codecov: Codecov, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    released = threading.Event()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        released.wait(30)
        reply(handler, 401, {"detail": "Invalid token."})

    codecov.answer = hang
    settings = CodecovSettings(TOKEN, SLUG, base_url=codecov.url, timeout_s=30.0)
    view = View(coverage=CoverageSettings(codecov=settings))
    with Receiver(view=view) as receiver:
        post_event(receiver.dsn, event(folder="program"))
        page = visit(receiver.url).page
        with page.expect_response(lambda response: "/api/coverage" in response.url) as answered:
            open_row(page, "Measured")
            lines = frame(page, "sign").get_by_test_id("context-line")
            expect(lines).to_have_count(len(PROGRAM))  # at once, not when the time is up
            assert not answered.is_done()
            assert states(lines) == ["none"] * len(PROGRAM)
            released.set()


def shown_marks(page: Page, function: str) -> None:
    """Wait for the first line's colour."""
    first = frame(page, function).get_by_test_id("context-line").first
    expect(first).to_have_attribute("data-coverage", "covered")


def states(lines: Locator) -> list[str | None]:
    return [line.get_attribute("data-coverage") for line in lines.all()]


def border(line: Locator) -> tuple[str, str]:
    """The style and colour of the bar beside a line's number."""
    style, colour = line.locator(".fc-line-number").evaluate(
        "element => { const style = getComputedStyle(element);"
        " return [style.borderRightStyle, style.borderRightColor]; }"
    )
    return str(style), str(colour)
