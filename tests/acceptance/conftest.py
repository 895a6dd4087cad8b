"""What the tests of the installed package and of the inspector's page share."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Look, OpenPage, Visit, chromium
from tests.support.inspector_process import InspectorProcess
from tests.support.requirements import MissingPart, require
from tests.support.wheel import build_wheel

_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


# Of the package, not of the session: tests elsewhere call asyncio.run, which would be refused.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of this folder."""
    try:
        with chromium() as running:
            yield running
    except MissingPart as error:
        require("Chromium", str(error))


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectorProcess]:
    """``consumer inspect --demo``: all tests look at it, and none changes what it holds."""
    with InspectorProcess(tmp_path_factory.mktemp("demo"), "--demo") as inspector:
        yield inspector


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[InspectorProcess]:
    """``consumer inspect``, empty: what the test posts to its DSN is all that it shows."""
    with InspectorProcess(tmp_path) as inspector:
        yield inspector


@pytest.fixture
def visit(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """``visit(url, look=Look())`` opens a page in a context of its own.

    At the end, no page may have done what the inspector never does. A failed test leaves pictures
    of its pages in its temporary folder.
    """
    visits: list[Visit] = []

    def go(url: str, look: Look | None = None) -> Visit:
        visits.append(Visit.to(url, browser, look or Look()))
        return visits[-1]

    yield go
    complaints = [complaint for each in visits for complaint in each.watch.complaints()]
    has_failed = request.node.stash.get(_FAILED, False) or bool(complaints)
    for number, each in enumerate(visits):
        if has_failed:
            each.leave_evidence(tmp_path / f"page-{number}")
        each.end()
    assert not complaints, complaints


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report
