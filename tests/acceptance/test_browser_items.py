"""Each type of item that the SDKs send is read on the page, and found by a search."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import sentry_sdk
from playwright.sync_api import FloatRect, Page, expect
from sentry_sdk import logger
from sentry_sdk.crons import capture_checkin
from sentry_sdk.profiler import (
    continuous_profiler,
    start_profiler,
    stop_profiler,
    transaction_profiler,
)

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import Look, OpenPage, open_row, rows
from tests.support.inspector_process import InspectorProcess
from tests.support.node_sdk import start_node_sdk
from tests.support.posting import post_all
from tests.support.requirements import MissingPart, require

FEEDBACK = {
    "type": "feedback",
    "contexts": {"feedback": {"message": "The cart is empty", "contact_email": "jane@example.com"}},
}
# A PNG of one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc33"
    "0000000049454e44ae426082"
)
MARKUP = "<img src=x onerror='window.ran = true'>"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectorProcess]:
    """An inspector with one item of each type, sent by the SDK itself."""
    with InspectorProcess(tmp_path_factory.mktemp("sent")) as inspector:
        send_everything(inspector.dsn)
        send_profile_of_a_session(inspector.dsn)
        inspector.wait_for_events(9)
        yield inspector


def send_everything(dsn: str) -> None:
    with sentry_sdk.isolation_scope() as scope:
        client = sentry_sdk.Client(
            dsn=dsn, default_integrations=False, enable_logs=True, release="shop@1",
            traces_sampler=lambda context: context["transaction_context"]["name"] != "/dropped",
            profiles_sample_rate=1.0,
        )  # fmt: skip
        scope.set_client(client)
        transaction_profiler.setup_profiler(client.options)
        with sentry_sdk.start_transaction(op="http.server", name="/dropped"):
            pass
        with sentry_sdk.start_transaction(op="http.server", name="/checkout"):
            work_until_sampled()
            logger.info("low stock of {item}", item="teapot", attributes={"shop": "Basel"})
            sentry_sdk.metrics.count("orders.paid", 3, unit="order", attributes={"shop": "Bern"})
        capture_checkin(monitor_slug="nightly-rates", status="ok", duration=12.5)
        scope.start_session()
        scope.end_session()
        sentry_sdk.capture_event(dict(FEEDBACK))  # type: ignore[arg-type]  # the SDK knows no such event
        scope.set_user({"id": "customer-4711", "email": "jane@example.com"})
        scope.set_tag("region", "north")
        scope.add_attachment(bytes=b"line 1\nline 2\n", filename="rates.log")
        scope.add_attachment(bytes=PIXEL, filename="screen.png", content_type="image/png")
        scope.add_attachment(bytes=b"<svg onload='window.ran=1'>", filename="evil.svg")
        scope.add_attachment(bytes=bytes(5000), filename="core.bin")
        try:
            try:
                raise OSError("the disk is gone")
            except OSError as error:
                raise LookupError("no rate") from error
        except LookupError:
            sentry_sdk.capture_exception()
        client.close()
    transaction_profiler.teardown_profiler()


def work_until_sampled() -> None:
    """The SDK sends no profile of fewer than two samples, and takes them as the machine lets it."""
    profile = sentry_sdk.get_current_span()._profile  # type: ignore[union-attr]  # a transaction
    while profile.unique_samples < 10:
        busy_with_prices()


def busy_with_prices() -> int:
    return sum(range(2_000))


def send_profile_of_a_session(dsn: str) -> None:
    """The newer profiles, of no transaction."""
    client = sentry_sdk.Client(
        dsn=dsn, default_integrations=False, release="shop@2", profile_session_sample_rate=1.0
    )
    start_profiler()
    scheduler = continuous_profiler._scheduler
    assert scheduler is not None
    while scheduler.buffer is None or len(scheduler.buffer.chunk.samples) < 10:
        busy_with_taxes()
    stop_profiler()
    client.close()
    continuous_profiler.teardown_continuous_profiler()


def busy_with_taxes() -> int:
    return sum(range(2_000))


def panel(page: Page) -> Any:
    return page.get_by_role("tabpanel")


def show(page: Page, title: str, tab: str) -> Any:
    titled = page.locator(".event-title", has_text=title)
    rows(page).filter(has=titled).first.click()
    page.get_by_role("tab", name=tab, exact=True).click()
    return panel(page)


def spans(outer: FloatRect, inner: FloatRect) -> bool:
    """Whether the inner box lies within the outer one from left to right."""
    end = outer["x"] + outer["width"] + 1
    return outer["x"] <= inner["x"] < inner["x"] + inner["width"] <= end


def test_every_item_of_the_sdk_is_read_on_the_page(visit: OpenPage, sent: InspectorProcess) -> None:
    page = visit(sent.url).page
    logs = show(page, "low stock of teapot", "Logs")
    logs.get_by_role("button", name="low stock of teapot").click()
    expect(logs).to_contain_text("Basel")
    expect(logs.get_by_role("link", name="Open the trace")).to_be_visible()

    metrics = show(page, "orders.paid", "Metrics")
    expect(metrics.get_by_role("row").nth(1)).to_contain_text("counter3 orderorders.paid")
    metrics.get_by_role("button", name="orders.paid").click()
    expect(metrics).to_contain_text("Bern")

    check_in = show(page, "nightly-rates: ok", "Check-in")
    expect(check_in).to_contain_text("Monitornightly-ratesStatusokDuration12.5 s")

    session = show(page, "session exited", "Session")
    expect(session).to_contain_text("Statusexited")
    expect(session).to_contain_text("Releaseshop@1")

    report = show(page, "discarded by the SDK", "Client report")
    expect(report.get_by_role("row", name="transaction sample_rate 1")).to_be_visible()

    profile = show(page, "/checkout", "Profile")
    expect(profile).to_contain_text("busy_with_prices")
    expect(profile).to_contain_text(re.compile(r"\d+ samples"))
    boxes = profile.get_by_role("img", name="Flame graph").locator(".flame-box")
    busy = boxes.filter(has_text="busy_with_prices").first.bounding_box()
    # A caller has a box for each of its lines that were seen: it is below one of them.
    callers = [each.bounding_box() for each in boxes.filter(has_text="send_everything").all()]
    assert any(caller["y"] < busy["y"] and spans(caller, busy) for caller in callers), callers

    of_session = show(page, "profile of shop@2", "Profile")
    expect(of_session).to_contain_text("busy_with_taxes")
    expect(of_session).to_contain_text(re.compile(r"\d+ samples"))

    feedback = show(page, "The cart is empty", "Event")
    expect(feedback.locator(".feedback")).to_have_text("The cart is empty")
    expect(feedback).to_contain_text("jane@example.com")


@pytest.fixture(scope="module")
def sent_by_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectorProcess]:
    """An inspector with one item of each type, sent by the Node SDK."""
    with InspectorProcess(tmp_path_factory.mktemp("node")) as inspector:
        try:
            senders = [start_node_sdk(inspector.dsn), start_node_sdk(inspector.dsn, "static")]
        except MissingPart as error:
            require("The Node SDK", str(error))
        for sender in senders:
            assert sender.wait(60) == 0
        yield inspector


def test_every_item_of_the_node_sdk_is_read_on_the_page(
    visit: OpenPage, sent_by_node: InspectorProcess
) -> None:
    page = visit(sent_by_node.url).page
    error = show(page, "Error: the payment failed", "Event")
    expect(error.locator(".cause")).to_have_text("Error caused by")
    expect(error.locator(".exception").nth(1)).to_contain_text("TypeError")
    expect(error.locator("[aria-current] code").first).to_contain_text("new Error('the payment")
    attached = error.get_by_role("list", name="Attachments").get_by_role("listitem")
    expect(attached).to_contain_text("rates.log")
    expect(attached).to_contain_text("line 1\nline 2")

    group = show(page, "AggregateError: no mirror answers", "Event")
    expect(group.locator(".cause")).to_have_text(["member of group AggregateError"] * 2)

    spans = show(page, "POST /checkout", "Trace").get_by_role("treeitem")
    expect(spans).to_have_count(3)
    expect(spans.nth(0)).to_contain_text("2 errors")
    expect(spans.nth(2)).to_contain_text("db SELECT carts")

    transaction = show(page, "POST /pay", "Trace").get_by_role("treeitem")
    expect(transaction).to_have_count(2)

    logs = show(page, "low stock of teapot", "Logs")
    logs.get_by_role("button", name="low stock of teapot").click()
    expect(logs).to_contain_text("Basel")

    metrics = show(page, "orders.paid", "Metrics")
    expect(metrics.get_by_role("row").nth(1)).to_contain_text("counter3 orderorders.paid")

    check_in = show(page, "nightly-rates: ok", "Check-in")
    expect(check_in).to_contain_text("Monitornightly-ratesStatusokDuration12.5 s")

    session = show(page, "session exited", "Session")
    expect(session).to_contain_text("Releaseshop@1")

    report = show(page, "discarded by the SDK", "Client report")
    expect(report.get_by_role("row", name="error before_send 1")).to_be_visible()

    feedback = show(page, "The cart is empty", "Event")
    expect(feedback.locator(".feedback")).to_have_text("The cart is empty")
    expect(feedback).to_contain_text("jane@example.com")


def test_attachments_are_on_the_events_own_tab(visit: OpenPage, sent: InspectorProcess) -> None:
    page = visit(sent.url, Look(width=390)).page
    open_row(page, "LookupError: no rate")
    attached = page.get_by_role("list", name="Attachments").get_by_role("listitem")
    expect(attached).to_have_count(4)
    expect(attached.nth(0)).to_contain_text("line 1\nline 2")
    picture = attached.nth(1).get_by_role("img", name="screen.png")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.attached-image')?.naturalWidth === 1")
    attached.nth(2).scroll_into_view_if_needed()
    expect(attached.nth(2).get_by_role("img")).to_have_count(0)
    expect(attached.nth(3)).to_contain_text("4.9 KiB")
    with page.expect_download() as download:
        attached.nth(3).get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == bytes(5000)
    assert page.evaluate("window.ran ?? null") is None


def test_a_search_finds_each_word_in_its_item(visit: OpenPage, sent: InspectorProcess) -> None:
    page = visit(sent.url).page
    for word, title in (
        ("teapot", "low stock"),
        ("shop:bern", "orders.paid"),
        ("nightly", "nightly-rates"),
        ("sample_rate", "discarded by the SDK"),
        ("busy_with_prices", "/checkout"),
        ("cart is", "The cart is empty"),
        ("disk is gone", "LookupError"),
        ("customer-4711", "LookupError"),
        ("region:north", "LookupError"),
        ("rates.log", "LookupError"),
    ):
        with page.expect_response(
            re.compile(r"/api/events\?.*q=" + re.escape(quote_plus(word)))
        ) as found:
            page.get_by_role("searchbox").fill(word)
        # The page may still show what the word before has found.
        assert [title in entry["title"] for entry in found.value.json()["events"]] == [True], word
        expect(page.get_by_test_id("event-count"), word).to_have_text("1 event")
        expect(rows(page), word).to_contain_text([title])


def test_a_trace_id_finds_all_that_belongs_to_it(visit: OpenPage, sent: InspectorProcess) -> None:
    (transaction,) = sent.events("type=transaction")
    (trace_id,) = sent.get(f"/api/events/{transaction['id']}")["traces"]
    page = visit(f"{sent.url}#/events?q={trace_id}").page
    expect(rows(page).filter(has_text="/checkout")).to_have_count(1)
    expect(rows(page).filter(has_text="low stock")).to_have_count(1)
    expect(rows(page).filter(has_text="orders.paid")).to_have_count(1)


def test_damaged_and_hostile_items_say_so_and_run_nothing(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    payloads = {
        "log": {"items": [{"body": MARKUP, "attributes": {"a": {"value": MARKUP}}}]},
        "trace_metric": {"items": 3},
        "check_in": {"monitor_slug": MARKUP, "status": ["x"]},
        "client_report": {"discarded_events": [None, {"reason": MARKUP}]},
        "profile": {
            "profile": {"samples": [{"stack_id": 0}], "stacks": [[0, 0, 9]], "frames": [3]}
        },
        "user_report": {"comments": MARKUP, "event_id": "nowhere"},
        "sessions": [],
    }
    lines = ["{}"]
    for kind, payload in payloads.items():
        lines += [json.dumps({"type": kind}), json.dumps(payload)]
    post_all(Dsn.parse(receiver.dsn), ["\n".join([*lines, ""]).encode()])
    page = visit(receiver.url).page
    open_row(page, "<img")
    page.get_by_role("button", name="Show 2 more of 7 items").click()
    expect(panel(page)).to_contain_text("Item 1 is not a valid trace_metric")
    expect(panel(page)).to_contain_text("Item 6 is not a valid sessions")
    expect(panel(page)).to_contain_text("<unknown>")
    assert page.evaluate("window.ran ?? null") is None
