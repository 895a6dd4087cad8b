"""A link opens its own event or says that it is not stored, also after a restart."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import Look, Visit, open_row
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_event


def test_a_link_never_opens_another_event_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with InspectorProcess(first) as inspector:
        event_id = post_event(Dsn.parse(inspector.dsn), {"message": "the first"})
        # Not the fixture ``visit``: the browser reports every response 404 as an error.
        page = Visit.to(inspector.url, browser, Look()).page
        open_row(page, "the first")
        link = page.evaluate("location.hash")
        assert link.startswith(f"#/event/{event_id}/")
        page.reload()
        expect(page.get_by_role("heading", name="the first", level=2)).to_be_visible()
    with InspectorProcess(second) as inspector:
        # It gets the number that the first event had.
        post_event(Dsn.parse(inspector.dsn), {"message": "another"})
        for address, message in (
            (link, "This event is not stored"),
            (f"#/event/{event_id}", "This event is not stored"),
            ("#/events/1", "This entry is no longer stored"),
        ):
            page.goto("about:blank")
            page.goto(f"{inspector.url}{address}")
            expect(page.get_by_role("main")).to_contain_text(message)
            assert page.get_by_role("main").get_by_role("heading").count() == 0
        post_event(Dsn.parse(inspector.dsn), {"event_id": event_id, "message": "the first"})
        page.goto("about:blank")
        page.goto(f"{inspector.url}{link}")
        expect(page.get_by_role("heading", name="the first", level=2)).to_be_visible()
        page.context.close()
