"""A trace is read as a waterfall, whatever its spans contain; links lead from it and back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import sentry_sdk
from playwright.sync_api import Page, expect
from sentry_sdk import logger

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import Look, OpenPage, open_row
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_all

TRACE = "0af7651916cd43dd8448eb211c80319c"
MARKUP = "<img src=x onerror='window.ran = true'>"


def spans(page: Page) -> Any:
    return page.get_by_role("tree", name="Spans").get_by_role("treeitem")


def transaction(children: list[Any], **event: Any) -> bytes:
    now = time.time()
    trace = {"trace_id": TRACE, "span_id": "root", "op": "http.server"}
    payload = json.dumps(
        {
            "type": "transaction", "transaction": "/pay", "event_id": "e" * 32,
            "contexts": {"trace": trace}, "start_timestamp": now - 1, "timestamp": now,
            "spans": children, **event,
        }
    )  # fmt: skip
    return b'{"event_id":"%s"}\n{"type":"transaction"}\n%s\n' % (b"e" * 32, payload.encode())


def test_a_trace_of_the_python_sdk_leads_to_its_error_and_log_and_back(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    with sentry_sdk.isolation_scope() as scope:
        client = sentry_sdk.Client(
            dsn=receiver.dsn, default_integrations=False, enable_logs=True, traces_sample_rate=1.0
        )
        scope.set_client(client)
        with sentry_sdk.start_transaction(op="http.server", name="/checkout") as checkout:
            with sentry_sdk.start_span(op="db", name="SELECT cart") as select:
                sentry_sdk.capture_message("no stock", level="error")
                logger.warning("stock is low")
                select.set_status("not_found")
            with sentry_sdk.start_span(op="db", name="INSERT order"):
                pass
        client.close()
    receiver.wait_for_events(3)
    page = visit(receiver.url).page
    open_row(page, "/checkout")
    expect(spans(page)).to_have_count(3)
    expect(spans(page).nth(0)).to_contain_text("http.server /checkout")
    select = spans(page).nth(1)
    expect(select).to_contain_text("SELECT cart")
    expect(select).to_contain_text("not_found")
    expect(select).to_contain_text("1 error")
    expect(select).to_contain_text("1 log")
    assert select.get_attribute("aria-level") == "2"
    expect(page.get_by_text(checkout.trace_id).first).to_be_visible()

    marks = page.get_by_role("list", name="Errors and logs of the trace")
    marks.get_by_role("link", name="no stock").click()
    expect(page.locator(".entry-title")).to_have_text("no stock")
    page.get_by_role("tab", name="Trace").click()
    expect(spans(page)).to_have_count(3)
    marks.get_by_role("link", name="stock is low").click()
    expect(page.get_by_role("table")).to_contain_text("stock is low")
    page.get_by_role("tab", name="Trace").click()
    spans(page).nth(2).click()
    page.get_by_role("link", name="Open the entry of this span").click()
    expect(page.locator(".entry-title")).to_have_text("/checkout")

    page.goto(f"{receiver.url}#/trace/{checkout.trace_id}")
    expect(spans(page)).to_have_count(3)


def test_a_waterfall_needs_only_the_keyboard(visit: OpenPage, receiver: InspectorProcess) -> None:
    child = {"span_id": "b", "parent_span_id": "root", "op": "db", "description": "SELECT"}
    post_all(Dsn.parse(receiver.dsn), [transaction([child])])
    page = visit(receiver.url).page
    open_row(page, "/pay")
    page.get_by_role("tree", name="Spans").focus()
    page.keyboard.press("ArrowDown")
    expect(spans(page).nth(0)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowLeft")
    expect(spans(page)).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    expect(page.get_by_label("Selected span")).to_contain_text("SELECT")
    expect(page.get_by_label("Selected span")).to_contain_text("has no start time")


def test_contradictory_spans_are_drawn_as_sent(visit: OpenPage, receiver: InspectorProcess) -> None:
    now = time.time()
    times = {"start_timestamp": now - 0.5, "timestamp": now - 0.4}
    children = [
        {"span_id": "x", "parent_span_id": "y", "description": MARKUP, **times},
        {"span_id": "y", "parent_span_id": "x", "description": "cyclic", **times},
        {"span_id": "early", "parent_span_id": "root", "start_timestamp": 5, "timestamp": 4},
        {"span_id": "lost", "parent_span_id": "nowhere", **times},
        {"description": "no id", **times},
        "not a span",
    ]
    post_all(Dsn.parse(receiver.dsn), [transaction(children)])
    page = visit(receiver.url, Look(width=390)).page
    open_row(page, "/pay")
    expect(spans(page)).to_have_count(6)
    expect(page.get_by_role("tree")).to_contain_text("<img src=x")
    expect(page.get_by_role("tree")).to_contain_text("off the axis")
    problems = page.get_by_label("Selected span").locator(".span-problems")
    seen = set()
    for index in range(6):
        spans(page).nth(index).click()
        seen |= set(problems.all_inner_texts())
    assert "As sent: this span its parents form a cycle." not in seen
    for problem in (
        "is in a cycle of parents",
        "ends before it starts; starts before its parent",
        "has a parent that is not in this trace: nowhere",
        "has no span id",
    ):
        assert f"As sent: this span {problem}." in seen
    assert page.evaluate("window.ran ?? null") is None
    assert page.evaluate("document.documentElement.scrollWidth") == 390


# The longest time in which the page did not draw, in milliseconds, since it was opened.
LONGEST_PAUSE = """() => {
  window.longest = 0;
  let last = performance.now();
  const look = (now) => {
    window.longest = Math.max(window.longest, now - last);
    last = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@pytest.mark.timed
def test_a_trace_of_100000_spans_freezes_nothing(
    visit: OpenPage, receiver: InspectorProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    children = [
        {
            "span_id": f"{number:016x}",
            "parent_span_id": f"{number // 3:016x}" if number else "root",
            "op": "db",
            "description": f"SELECT {number}",
            "start_timestamp": now - 1 + number / 200_000,
            "timestamp": now - 1 + number / 199_999,
        }
        for number in range(100_000)
    ]
    post_all(Dsn.parse(receiver.dsn), [transaction(children)])
    page = visit(receiver.url).page
    page.evaluate(LONGEST_PAUSE)
    open_row(page, "transaction")
    expect(page.get_by_role("tree", name="Spans")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Only the first 100,000 spans are shown of 100,001.")).to_be_visible()
    assert spans(page).count() < 100
    page.get_by_role("tree", name="Spans").focus()
    page.keyboard.press("End")
    expect(page.locator("[role=treeitem][aria-selected=true]")).to_be_visible()
    longest_ms = page.evaluate("window.longest")
    with capsys.disabled():
        print(f"\n  longest pause with 100,000 spans: {longest_ms:.0f} ms")  # noqa: T201 - a figure
    assert longest_ms < 1_000
