"""axe-core on each kind of page, in both themes and at both widths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.axe import serious_violations
from tests.support.browser import WIDTHS, Look, OpenPage, event_list, open_row, rows
from tests.support.inspector_process import InspectorProcess
from tests.support.requirements import MissingPart, require

# Between them they have all parts that frames and entries can have.
TITLES = (
    "RateMissing",
    "EXCEPTION_ACCESS_VIOLATION",
    "System.TimeoutException",
    "/checkout",
    "rate for NOK is stale",
    "orders.paid",
    "The total stays empty",
    "RateMissing: no rate for NOK",
)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_demo_page_has_a_serious_violation(
    visit: OpenPage, demo: InspectorProcess, width: int
) -> None:
    page = visit(demo.url, Look(width=width)).page
    expect(rows(page).first).to_be_visible()
    found = {"list": violations(page)}
    for title in TITLES:
        open_row(page, title)
        found[title] = violations(page)
        back_to_list(page)
    open_row(page, TITLES[0])
    for tab in ("JSON", "Envelope"):
        page.get_by_role("tab", name=tab).click()
        found[tab] = violations(page)
    back_to_list(page)
    page.get_by_role("button", name="Dead letters").click()
    rows(page).filter(has_text="invalid_msgpack").click()
    page.get_by_label("Undecodable message").wait_for()
    found["undecodable"] = violations(page)
    assert not any(found.values()), found


@pytest.mark.parametrize("width", WIDTHS)
def test_an_empty_page_has_no_serious_violation(
    visit: OpenPage, empty: InspectorProcess, width: int
) -> None:
    page = visit(empty.url, Look(width=width)).page
    expect(page.get_by_text("No events yet")).to_be_visible()
    assert violations(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_theme_button_changes_the_page_and_is_stored(
    visit: OpenPage, empty: InspectorProcess, width: int
) -> None:
    page = visit(empty.url, Look(width=width, theme="light")).page
    light = text_colour(page)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    assert text_colour(page) != light
    page.reload()
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert text_colour(page) != light


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InspectorProcess]:
    with InspectorProcess(tmp_path_factory.mktemp("empty")) as inspector:
        yield inspector


def violations(page: Page) -> list[str]:
    """In both themes, which differ in their colours only."""
    try:
        in_light = serious_violations(page)
        page.emulate_media(color_scheme="dark")
        in_dark = serious_violations(page, "color-contrast")
        page.emulate_media(color_scheme="light")
        return in_light + in_dark
    except MissingPart as error:
        require("axe-core", str(error))


def back_to_list(page: Page) -> None:
    """On a window too narrow for both panes."""
    back = page.get_by_role("button", name="← Events")
    if back.is_visible():
        back.click()
    expect(event_list(page)).to_be_visible()


def text_colour(page: Page) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).color")
    return colour
