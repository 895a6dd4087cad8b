"""Hostile events stay text: nothing runs, loads, or breaks the layout."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import OpenPage, open_row, rows
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_all, post_event

SCRIPT = "<script>window.ran = true; alert(1)</script>"
IMAGE = '"><img src=http://attacker.invalid/x onerror="window.ran = true">'
MARKUP = f"{SCRIPT}{IMAGE}<style>*{{display:none}}</style><svg onload=alert(2)>"
LINK = "javascript:alert(3)"
# An element that only markup of an event could have made.
PLANTED = (
    "main :is(script, img, style, iframe, svg[onload], [onerror]), .list-pane :is(img, script)"
)

# Beyond this a tab takes seconds to draw them.
MANY_ELEMENTS = 20_000


def hostile_event() -> dict[str, Any]:
    """Markup as every shown value and name."""
    frame = {
        "filename": LINK,
        "abs_path": LINK,
        "module": MARKUP,
        "function": MARKUP,
        "package": f"{MARKUP}, Version={MARKUP}, Culture={MARKUP}, PublicKeyToken={MARKUP}",
        "lineno": 2,
        "colno": MARKUP,
        "instruction_addr": MARKUP,
        "pre_context": [MARKUP],
        "context_line": MARKUP,
        "post_context": [MARKUP],
        "vars": {MARKUP: MARKUP, "__proto__": {"ran": True}, "list": [MARKUP, {MARKUP: MARKUP}]},
        "in_app": True,
    }
    stacktrace = {"frames": [frame, frame | {"lineno": 3}], "registers": {MARKUP: MARKUP}}
    remark = {"": {"rem": [[MARKUP, "s", 0, 3]], "len": 9, "err": [MARKUP]}}
    own = {MARKUP: MARKUP, "url": LINK, "href": "http://attacker.invalid/y"}
    return {
        "platform": "csharp",  # whose frames show their assembly too
        "level": MARKUP,
        "transaction": MARKUP,
        "logger": MARKUP,
        "release": MARKUP,
        "dist": MARKUP,
        "environment": MARKUP,
        "server_name": MARKUP,
        "logentry": {"message": MARKUP, "formatted": MARKUP, "params": [MARKUP]},
        "exception": {
            "values": [
                {
                    "type": MARKUP,
                    "value": MARKUP,
                    "module": MARKUP,
                    "mechanism": {"type": MARKUP, "data": own, "help_link": LINK},
                    "stacktrace": stacktrace,
                }
            ]
        },
        "threads": {"values": [{"id": MARKUP, "name": MARKUP, "stacktrace": stacktrace}]},
        "breadcrumbs": {"values": [{"category": MARKUP, "message": MARKUP, "type": MARKUP, **own}]},
        "tags": own,
        "extra": own,
        "user": own,
        "modules": own,
        "request": {**own, "headers": [[MARKUP, MARKUP]], "cookies": own, "data": MARKUP},
        "contexts": {MARKUP: own, "trace": own, "device": {"arch": MARKUP}},
        "sdk": {"name": MARKUP, "version": MARKUP},
        "_meta": {
            "logentry": {"formatted": remark},
            "exception": {"values": {"0": {"value": remark}}},
        },
    }


def assert_harmless(page: Page) -> None:
    assert page.locator(PLANTED).count() == 0
    assert page.evaluate("[window.ran, ({}).ran, ({}).polluted]") == [None, None, None]
    assert page.locator("main a[href]:not([href^='/api/events/'])").count() == 0


def test_markup_in_every_field_stays_text(visit: OpenPage, receiver: InspectorProcess) -> None:
    header = {"sdk": {"name": MARKUP}, "kafka": {"topic": MARKUP, "partition": 0, "offset": 1}}
    post_event(Dsn.parse(receiver.dsn), hostile_event(), header)
    page, _ = visit(receiver.url)
    expect(rows(page).first).to_contain_text("<script>")
    open_row(page, "<script>")
    main = page.get_by_role("main")
    unfold_all(page)
    for where in (main.get_by_role("heading", level=2), main.locator(".exception-value")):
        expect(where).to_contain_text("<script>window.ran = true; alert(1)</script>")
    assert_harmless(page)
    page.locator(".fc-redacted").first.hover()
    expect(page.get_by_role("tooltip").filter(visible=True)).to_contain_text("<script>")
    for tab in ("JSON", "Envelope"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tabpanel")).to_contain_text("<script>")
        unfold_all(page)
        assert_harmless(page)
    expect(page.get_by_role("list", name="Envelope items")).to_contain_text("alert(1)")
    assert_harmless(page)


def test_a_hostile_item_that_is_not_an_event_stays_text(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    head = b'{}\n{"type":"attachment","filename":"<img src=x onerror=alert(1)>.html",'
    body = MARKUP.encode()
    head += b'"content_type":"text/html","length":%d}\n' % len(body)
    post_all(Dsn.parse(receiver.dsn), [head + body + b"\n"], connections=1)
    page, _ = visit(receiver.url)
    rows(page).first.click()
    expect(page.locator(".payload")).to_have_text(MARKUP)
    page.get_by_role("tab", name="Envelope").click()
    page.get_by_role("button", name="Show item 0").click()
    expect(page.locator(".payload")).to_have_text(MARKUP)
    assert_harmless(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download item 0").click()
    # Downloaded under our own name: as a page it would run on the inspector's origin.
    assert download.value.suggested_filename.endswith(".bin")
    assert download.value.path().read_bytes() == body


def test_the_demonstrations_hostile_events_are_harmless(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page, _ = visit(demo.url)
    for title in ("<img src=x onerror", "gnp.exe", "(no title)"):
        open_row(page, title)
        expect(page.get_by_role("main").get_by_role("heading", level=2)).to_contain_text(title)
        unfold_all(page)
        assert_harmless(page)


def test_deceptive_characters_are_shown_as_code_points(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    open_row(page, "gnp.exe")
    title = page.get_by_role("main").get_by_role("heading", level=2)
    expect(title).to_contain_text("paid U+202Egnp.exeU+202C")
    # A word of 3,000 letters must not widen the page.
    assert page.evaluate("document.documentElement.scrollWidth") == 1280


def test_a_huge_event_is_shown_a_page_at_a_time(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    def named(count: int) -> dict[str, int]:
        return {f"name {number}": number for number in range(count)}

    frames = [{"function": f"g{number}", "lineno": number} for number in range(2_000)]
    frames.append({"function": "f", "vars": named(20_000), "in_app": True})
    stacktrace = {"frames": frames, "registers": named(20_000)}
    event = {
        "exception": {"values": [{"type": "Wide", "stacktrace": stacktrace}]},
        "extra": named(100_000),
        "tags": named(20_000),
        "breadcrumbs": [{"message": "x"}] * 5_000,
    }
    post_event(Dsn.parse(receiver.dsn), event)
    items = b'{"type":"attachment"}\n\n' * 5_000
    post_all(Dsn.parse(receiver.dsn), [b"{}\n" + items], connections=1)
    page, _ = visit(receiver.url)
    rows(page).last.click()  # by position: the server parses no title of an event this large
    expect(page.get_by_role("button", name="Show 100 more of 100,000")).to_be_visible()
    assert elements(page) < MANY_ELEMENTS
    for what in ("variables", "registers", "tags"):
        page.get_by_role("button", name=f"Show 100 more of 20,000 {what}").click()
    assert elements(page) < MANY_ELEMENTS
    rows(page).first.click()
    page.get_by_role("tab", name="Envelope").click()
    more = page.get_by_role("button", name="Show 100 more of 5,000 items")
    more.click()
    expect(page.get_by_role("list", name="Envelope items").get_by_role("listitem")).to_have_count(
        200
    )
    assert elements(page) < MANY_ELEMENTS


def elements(page: Page) -> int:
    count: int = page.evaluate("document.querySelectorAll('*').length")
    return count


def unfold_all(page: Page) -> None:
    """Unfold everything, repeatedly."""
    rounds = page.evaluate(
        """async () => {
          for (let round = 0; round < 20; round += 1) {
            const folded = [...document.querySelectorAll('main [aria-expanded=false]')];
            if (folded.length === 0) return round;
            for (const element of folded) element.click();
            await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
          }
          return null;
        }"""
    )
    assert rounds is not None, "there is always something left to unfold"
