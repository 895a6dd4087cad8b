"""What a person does on the page besides reading: filter, group, copy, clear, open an editor."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import Look, OpenPage, copy, event_list, frame, head, open_row, rows
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_event


def test_clearing_asks_first_and_empties_every_page(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    post_event(Dsn.parse(receiver.dsn), {"message": "to be deleted"})
    page, other = visit(receiver.url).page, visit(receiver.url).page
    for each in (page, other):
        expect(rows(each)).to_have_count(1)
    # The other page hears of it by the stream alone.
    other.route("**/api/status", lambda _route: None)
    page.get_by_role("button", name="Clear", exact=True).click()
    confirm = page.get_by_role("button", name="Delete all entries?")
    expect(confirm).to_be_visible()
    assert len(receiver.events()) == 1
    confirm.click()
    for each in (page, other):
        expect(each.get_by_text("No events yet")).to_be_visible()
    assert receiver.events() == []
    post_event(Dsn.parse(receiver.dsn), {"message": "a new one"})
    for each in (page, other):
        expect(rows(each)).to_have_text([re.compile("a new one")])


def test_the_dsn_is_always_at_hand(visit: OpenPage, receiver: InspectorProcess) -> None:
    post_event(Dsn.parse(receiver.dsn), {"message": "x"})
    page = visit(receiver.url, Look(width=390)).page
    expect(rows(page)).to_have_count(1)
    assert copy(page, page.get_by_role("button", name="Copy DSN").click) == receiver.dsn


def test_a_dead_letters_row_has_its_whole_reason_and_its_page_the_command(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(f"{demo.url}#/events?reason=http_413", Look(width=390)).page
    expect(rows(page)).to_have_count(1)
    reason = rows(page).locator(".event-reason")
    expect(reason).to_have_text("http_413: upstream answered 413: the event is larger than 1 MiB")
    assert reason.evaluate("row => row.scrollWidth <= row.clientWidth")
    assert rows(page).evaluate(
        "row => row.querySelector('.event-reason').getBoundingClientRect().bottom"
        " <= row.getBoundingClientRect().bottom"
    )
    rows(page).first.click()
    copied = copy(page, page.get_by_role("button", name="Copy command").click)
    (letter,) = demo.events("reason=http_413")
    offset = letter["origin"]["offset"]
    assert copied == (
        "consumer dlq replay --dlq-topic ingest-events-dlq"
        f" --since {offset} --until {offset + 1} --origin ingest-events/3"
    )


def test_an_undecodable_message_is_read_in_hexadecimal_and_ascii(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(f"{demo.url}#/events?type=undecodable").page
    rows(page).first.click()
    first_bytes = page.get_by_label("First bytes")
    expect(first_bytes).to_contain_text("0000  93 01 c4 05 65 76 65 6e 74 ff 00")
    expect(first_bytes).to_contain_text("....event..")


def test_filters_offer_what_is_stored_and_are_in_the_address(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    page.get_by_label("Platform").select_option("csharp")
    expect(page.get_by_test_id("event-count")).to_have_text("2 events")
    page.get_by_label("Reason").select_option("http_413")
    expect(page.get_by_test_id("event-count")).to_have_text("1 event")
    assert page.evaluate("location.hash") == "#/events?platform=csharp&reason=http_413"
    page.reload()
    expect(page.get_by_test_id("event-count")).to_have_text("1 event")


def test_a_toggle_says_its_state_without_colour(visit: OpenPage, demo: InspectorProcess) -> None:
    page = visit(demo.url).page
    toggle = page.get_by_role("button", name="Dead letters")
    before = toggle.evaluate("button => getComputedStyle(button, '::before').content")
    toggle.click()
    expect(page.get_by_test_id("event-count")).to_have_text("2 events")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert toggle.evaluate("button => getComputedStyle(button, '::before').content") != before


def test_events_of_one_issue_are_grouped_and_counted(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    dsn = Dsn.parse(receiver.dsn)
    for value in ("first", "second", "third"):
        error = {"values": [{"type": "RateMissing", "value": value}]}
        post_event(dsn, {"exception": error, "transaction": "/pay"})
    post_event(dsn, {"message": "another"})
    page = visit(receiver.url).page
    expect(rows(page)).to_have_count(4)
    page.get_by_role("button", name="Group issues").click()
    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(1)).to_contain_text("RateMissing: third")
    expect(rows(page).nth(1)).to_contain_text("3 events")
    post_event(dsn, {"message": "another"})
    expect(rows(page).first).to_contain_text("2 events")
    rows(page).nth(1).click()
    page.get_by_role("link", name="3 events of the same issue").click()
    expect(rows(page)).to_have_count(3)
    expect(event_list(page)).not_to_contain_text("another")


def test_missing_source_comes_from_the_checkout_with_a_link_to_an_editor(
    visit: OpenPage, tmp_path: Path
) -> None:
    (tmp_path / "checkout/shop").mkdir(parents=True)
    (tmp_path / "checkout/shop/cart.py").write_text("def total():\n    raise LookupError\n")
    options = (
        "--source-root",
        str(tmp_path / "checkout"),
        "--editor-link",
        "vscode://file{path}:{line}",
    )
    bare = {
        "filename": "shop/cart.py",
        "abs_path": "/srv/shop/cart.py",
        "function": "total",
        "lineno": 2,
    }
    with InspectorProcess(tmp_path, *options) as inspector:
        values = [{"type": "LookupError", "stacktrace": {"frames": [bare]}}]
        post_event(
            Dsn.parse(inspector.dsn), {"platform": "python", "exception": {"values": values}}
        )
        page = visit(inspector.url).page
        open_row(page, "LookupError")
        total = frame(page, "total")
        if head(total).get_attribute("aria-expanded") == "false":
            head(total).click()
        expect(total.locator("[aria-current] code")).to_have_text("    raise LookupError")
        expect(total).to_contain_text("from the working tree of the checkout, not from the event")
        link = total.get_by_role("link", name="Open in editor")
        assert link.get_attribute("href") == "vscode://file/srv/shop/cart.py:2"
