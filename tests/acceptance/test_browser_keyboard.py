"""Keyboard only: the focus is never lost and always visible."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.support.browser import Look, OpenPage, copy, event_list, rows
from tests.support.inspector_process import InspectorProcess

_TABS = 60  # more than the page has stops before anything that the test looks for


def test_the_keyboard_reaches_a_frame_and_the_list_again(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    expect(rows(page).first).to_be_visible()
    tab_to(page, "Events", role="listbox")
    for _ in range(3):
        press(page, "ArrowDown")
    expect(rows(page).nth(2)).to_have_attribute("aria-selected", "true")
    expect(rows(page).nth(2)).to_contain_text("EXCEPTION_ACCESS_VIOLATION")
    page.get_by_role("heading", name="EXCEPTION_ACCESS_VIOLATION").first.wait_for()
    press(page, "Enter")
    assert focused(page)["label"] == "Event"

    # A frame folds and unfolds.
    tab_to(page, "render::Scene::draw")
    expanded = page.locator(".frame-head:focus")
    press(page, "Enter")
    expect(expanded).to_have_attribute("aria-expanded", "false")
    press(page, "Space")
    expect(expanded).to_have_attribute("aria-expanded", "true")

    # A register changes.
    tab_to(page, "0x0000000000000000")
    press(page, "Enter")
    expect(page.locator(".fc-register-value:focus")).to_have_text("0")
    press(page, "Space")
    expect(page.locator(".fc-register-value:focus")).to_have_text("0x0000000000000000")

    # The source is copied.
    back_to(page, "Copy source")
    copied = copy(page, lambda: press(page, "Enter"))
    assert "node->draw(camera);" in copied

    # Back to the list, to the next event.
    back_to(page, "Events", role="listbox")
    press(page, "ArrowUp")
    expect(rows(page).nth(1)).to_have_attribute("aria-selected", "true")


def test_on_a_narrow_page_back_returns_to_the_list(visit: OpenPage, demo: InspectorProcess) -> None:
    page = visit(demo.url, Look(width=390)).page
    expect(rows(page).first).to_be_visible()
    tab_to(page, "Events", role="listbox")
    # Every entry can be reached: the list continues from the last selection.
    for title in ("RateMissing", "TypeError", "EXCEPTION_ACCESS_VIOLATION"):
        press(page, "ArrowDown")
        page.get_by_role("heading", name=title, level=2).wait_for()
        expect(event_list(page)).to_be_hidden()
        tab_to(page, "← Events")
        press(page, "Enter")
        expect(event_list(page)).to_be_visible()
        assert focused(page)["role"] == "listbox"


def test_the_first_key_on_a_fresh_page_moves_in_the_list(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    expect(rows(page).first).to_be_visible()
    assert focused(page)["tag"] == "BODY"
    page.keyboard.press("ArrowDown")
    expect(rows(page).first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(rows(page).nth(1)).to_have_attribute("aria-selected", "true")


def test_slash_focuses_the_search_and_arrows_switch_tabs(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    expect(rows(page).first).to_be_visible()
    page.keyboard.press("/")
    assert focused(page)["label"] == "Search events"
    page.keyboard.type("recursion")
    expect(rows(page)).to_have_count(1)
    tab_to(page, "Events", role="listbox")
    press(page, "ArrowDown")
    page.get_by_role("heading", name="RecursionError").first.wait_for()
    tab_to(page, "Event", role="tab")
    press(page, "ArrowRight")
    expect(page.get_by_role("tab", name="JSON")).to_have_attribute("aria-selected", "true")
    assert focused(page)["text"] == "JSON"


def test_every_tab_stop_of_an_events_page_is_visible(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    expect(rows(page).first).to_be_visible()
    tab_to(page, "Events", role="listbox")
    press(page, "ArrowDown")
    page.get_by_role("heading", name="RateMissing: no rate").wait_for()
    press(page, "Enter")
    stops = 0
    while stops < 2 * _TABS and press(page, "Tab")["tag"] != "BODY":
        stops += 1
    assert 20 < stops < 2 * _TABS  # and the last one leads out of the page: no trap


def press(page: Page, key: str) -> dict[str, str]:
    """Press the key; the focused element must be inside the window with a visible ring."""
    page.keyboard.press(key)
    found = focused(page)
    if found["tag"] == "BODY":
        assert key == "Tab", f"{key} lost the focus"
    else:
        assert found["seen"], f"after {key}, the focus on {found} can't be seen"
    return found


def tab_to(page: Page, label: str, role: str | None = None, key: str = "Tab") -> None:
    """Tab to the element with that label or initial text."""
    passed = []
    for _ in range(_TABS):
        found = press(page, key)
        passed.append(found["label"] or found["text"])
        if role in (None, found["role"]) and passed[-1].startswith(label):
            return
    raise AssertionError(f"{key} does not lead to {label}: {passed}")


def back_to(page: Page, label: str, role: str | None = None) -> None:
    tab_to(page, label, role, "Shift+Tab")


def focused(page: Page) -> dict[str, str]:
    """The focused element. ``seen``: it has an outline or shadow and is inside the window."""
    found: dict[str, str] = page.evaluate(
        """() => {
          const element = document.activeElement;
          const style = getComputedStyle(element);
          const box = element.getBoundingClientRect();
          const isInside = box.bottom > 0 && box.top < innerHeight && box.right > 0 &&
            box.left < innerWidth && box.width > 0 && box.height > 0;
          const hasRing = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) ||
            style.boxShadow !== 'none';
          return {
            tag: element.tagName,
            role: element.getAttribute('role') ?? '',
            label: element.getAttribute('aria-label') ?? '',
            text: element.textContent,
            seen: isInside && hasRing,
          };
        }"""
    )
    return found
