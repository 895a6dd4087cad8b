"""Fixtures for the tests of the installed package and of the inspector's page."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.support.browser import Look, OpenPage, Visit, chromium
from tests.support.inspector_process import InspectorProcess
from tests.support.requirements import MissingPart, require
from tests.support.wheel import shared_wheel

_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's wheel, built once for all processes of a test run."""
    own = tmp_path_factory.getbasetemp()
    return shared_wheel(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


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
def contexts(browser: Browser) -> Callable[[Look], BrowserContext]:
    """One context for each look: the next page starts in half the time."""
    return cache(lambda look: look.open_in(browser))


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectorProcess]:
    """``consumer inspect --demo``, shared: no test changes what it holds."""
    with InspectorProcess(tmp_path_factory.mktemp("demo"), "--demo") as inspector:
        yield inspector


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[InspectorProcess]:
    """``consumer inspect``, empty: it shows only what the test posts to its DSN."""
    with InspectorProcess(tmp_path) as inspector:
        yield inspector


@pytest.fixture
def visit(
    contexts: Callable[[Look], BrowserContext], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[OpenPage]:
    """``visit(url, look=Look())`` opens a page of a browser that has stored nothing.

    At the end, no page may have done what the inspector never does. A failed test leaves pictures
    of its pages in its temporary folder.
    """
    visits: list[Visit] = []

    def go(url: str, look: Look | None = None) -> Visit:
        visits.append(Visit.within(contexts(look or Look()), url))
        return visits[-1]

    yield go
    complaints = [complaint for each in visits for complaint in each.watch.complaints()]
    has_failed = request.node.stash.get(_FAILED, False) or bool(complaints)
    for number, each in enumerate(visits):
        if has_failed:
            each.save_artifacts(tmp_path / f"page-{number}")
        each.leave()
    assert not complaints, complaints


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report
