"""The list of a page that stays open, during evictions and after a change of the inspector."""

from __future__ import annotations

from pathlib import Path

import sentry_sdk
from playwright.sync_api import Browser, expect
from sentry_sdk import logger
from sentry_sdk.crons import capture_checkin

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import Look, OpenPage, Visit, open_row, rows
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_event


def post_titles(inspector: InspectorProcess, *titles: str) -> None:
    for title in titles:
        post_event(Dsn.parse(inspector.dsn), {"message": title})


def test_the_list_counts_and_shows_stored_entries(visit: OpenPage, tmp_path: Path) -> None:
    with InspectorProcess(tmp_path, "--keep", "10") as inspector:
        post_titles(inspector, *(f"early {number}" for number in range(8)))
        page = visit(inspector.url).page
        count = page.get_by_test_id("event-count")
        expect(count).to_have_text("8 events")
        expect(page.locator(".connection")).to_have_text("Live")
        post_titles(inspector, *(f"late {number}" for number in range(7)))
        expect(rows(page).first).to_contain_text("late 6")
        expect(count).to_have_text("10 events")
        expect(rows(page)).to_have_count(10)
        expect(rows(page).last).to_contain_text("early 5")
        assert inspector.get("/api/status")["counts"]["kept"] == 10


def test_another_inspector_at_the_same_address_resets_the_list(
    browser: Browser, tmp_path: Path
) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
    with InspectorProcess(folders[0]) as first:
        post_titles(first, *(f"old {number}" for number in range(5)))
        page, watch = visit = Visit.to(first.url, browser, Look())
        open_row(page, "old 4")
        expect(page.locator(".connection")).to_have_text("Live")
        port = Dsn.parse(first.dsn).port
    with InspectorProcess(folders[1], "--port", str(port)) as second:
        # More than before: the ids alone do not show that the store is another one.
        post_titles(second, *(f"new {number}" for number in range(8)))
        expect(rows(page).first).to_contain_text("new 7", timeout=30_000)
        expect(rows(page)).to_have_count(8)
        expect(rows(page).filter(has_text="old")).to_have_count(0)
        expect(page.get_by_role("main")).to_contain_text("This event is not stored")
        open_row(page, "new 4")
        heading = page.get_by_role("main").get_by_role("heading", level=2)
        expect(heading).to_have_text("new 4")
        # Meanwhile requests failed, and the old event was not found: the browser logs both.
        logged = ("net::ERR_", "status of 404")
        unknown = [text for text in watch.complaints() if not any(each in text for each in logged)]
        assert unknown == []
    visit.end()


def test_titles_of_the_sdks_items_say_what_happened(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    with sentry_sdk.isolation_scope() as scope:
        client = sentry_sdk.Client(
            dsn=receiver.dsn, default_integrations=False, enable_logs=True, release="shop@1"
        )
        scope.set_client(client)
        logger.info("checkout: low stock of {item}", item="tea")
        sentry_sdk.metrics.count("orders", 3, unit="order")
        capture_checkin(monitor_slug="nightly", status="ok", duration=12.5)
        scope.start_session()
        scope.end_session()
        client.close()
    page = visit(receiver.url).page
    expect(rows(page)).to_have_count(4)
    for title in (
        "INFO checkout: low stock of tea",
        "counter orders = 3 order",
        "nightly: ok after 12.5 s",
        "session exited of shop@1",
    ):
        expect(page.locator(".event-title").filter(has_text=title)).to_have_count(1)
    log = page.locator(".event-title").filter(has_text="low stock")
    expect(log.locator("svg")).to_have_count(1)
