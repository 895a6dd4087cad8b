"""Exceptions are drawn as the tree that the event describes, and nothing else is claimed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import sentry_sdk
from playwright.sync_api import Page

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import Look, OpenPage, open_row
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_event

# Exceptions as the SDKs of other languages send them, without their stack traces.
PAYLOADS: Final = Path("consumer_fleet/inspector/web/src/fixtures/exceptions.json")
UNKNOWN = "(the event does not say whether this is its cause)"


def no_rate() -> None:
    try:
        raise KeyError("EUR")
    except KeyError as error:
        raise ValueError("no rate") from error


def no_log() -> None:
    try:
        raise TimeoutError("bank")
    except TimeoutError:
        raise OSError("no log")  # noqa: B904 - the implicit context is the point


def caught(function: Callable[[], None]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def group() -> None:
    refunds = ExceptionGroup("refunds", [caught(no_log)])
    raise ExceptionGroup("2 payments failed", [caught(no_rate), refunds])


def drawn(page: Page) -> list[tuple[str, str]]:
    """The exceptions from top to bottom: how each relates to the one above it, and its type."""
    more = page.get_by_role("button", name="more of")
    while more.count() > 0:
        more.first.click()
    return [
        (
            exception.locator(".cause").inner_text() if exception.locator(".cause").count() else "",
            exception.get_attribute("aria-label") or "",
        )
        for exception in page.locator(".exception").all()
    ]


def offsets(page: Page) -> list[float]:
    """The left edges of the exceptions."""
    boxes = [each.bounding_box() for each in page.locator(".exception").all()]
    return [box["x"] for box in boxes if box is not None]


@pytest.mark.parametrize(
    ("function", "title", "tree"),
    [
        (
            group,
            "2 payments failed",
            [
                ("", "ExceptionGroup"),
                ("member of group ExceptionGroup", "ValueError"),
                ("ValueError caused by", "KeyError"),
                ("member of group ExceptionGroup", "ExceptionGroup"),
                ("member of group ExceptionGroup", "OSError"),
                ("OSError during handling of", "TimeoutError"),
            ],
        ),
        # Outside a group, the SDK sends the order only.
        (
            no_rate,
            "no rate",
            [("", "ValueError"), (f"ValueError raised after {UNKNOWN}", "KeyError")],
        ),
        (no_log, "no log", [("", "OSError"), (f"OSError raised after {UNKNOWN}", "TimeoutError")]),
    ],
)
def test_the_exceptions_of_the_python_sdk(
    visit: OpenPage,
    receiver: InspectorProcess,
    function: Callable[[], None],
    title: str,
    tree: list[tuple[str, str]],
) -> None:
    with sentry_sdk.isolation_scope() as scope:
        client = sentry_sdk.Client(dsn=receiver.dsn, default_integrations=False)
        scope.set_client(client)
        sentry_sdk.capture_exception(caught(function))
        client.close()
    page = visit(receiver.url).page
    open_row(page, title)
    assert drawn(page) == tree
    if function is group:
        top, member, cause, inner, *_ = offsets(page)
        assert top < member < cause
        assert member == inner


@pytest.mark.parametrize(
    ("name", "title", "tree"),
    [
        (
            "javaSuppressed",
            "order 17",
            [
                ("", "PaymentException"),
                ("suppressed by PaymentException", "IllegalStateException"),
                ("IllegalStateException caused by", "IOException"),
                ("PaymentException caused by", "SocketTimeoutException"),
            ],
        ),
        (
            "javascriptAggregate",
            "all payments failed",
            [
                ("", "AggregateError"),
                ("member of group AggregateError", "TypeError"),
                ("TypeError caused by", "RangeError"),
                ("member of group AggregateError", "Error"),
            ],
        ),
    ],
)
def test_the_exceptions_of_other_sdks(
    visit: OpenPage,
    receiver: InspectorProcess,
    name: str,
    title: str,
    tree: list[tuple[str, str]],
) -> None:
    post_event(Dsn.parse(receiver.dsn), json.loads(PAYLOADS.read_text())[name])
    page = visit(receiver.url).page
    open_row(page, title)
    assert drawn(page) == tree


@pytest.mark.timed
def test_a_thousand_exceptions_in_a_cycle_do_not_freeze_the_page(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    count = 1_000

    def exception(number: int) -> dict[str, Any]:
        parent = (number + 1) % (count - 1) if number < count - 1 else 5
        mechanism = {"type": "chained", "exception_id": number, "parent_id": parent}
        return {"type": f"E{number}", "value": "v", "mechanism": mechanism}

    values = [exception(number) for number in reversed(range(count))]
    post_event(Dsn.parse(receiver.dsn), {"platform": "java", "exception": {"values": values}})
    page = visit(receiver.url, Look(width=390)).page
    page.evaluate(
        """() => {
          window.longest = 0;
          new PerformanceObserver((list) => {
            for (const task of list.getEntries())
              window.longest = Math.max(window.longest, task.duration);
          }).observe({ type: 'longtask' });
        }"""
    )
    open_row(page, "E0: v")
    page.get_by_role("button", name="Show 5 more of 1,000 exceptions").wait_for()
    assert page.locator(".cause").nth(1).inner_text() == "Its parent ids form a cycle."
    assert page.get_by_text("caused by").count() == 0
    assert page.evaluate("window.longest") < 1_000
    assert page.evaluate("document.documentElement.scrollWidth") == 390
