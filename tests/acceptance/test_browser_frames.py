"""Stack frames in a real browser: folding, and the notation of values."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from consumer_fleet.capture.dsn import Dsn
from tests.support.browser import OpenPage, copy, frame, head, open_row
from tests.support.inspector_process import InspectorProcess
from tests.support.posting import post_event

LIBRARY_FRAMES = 6
# The first two are beyond what a browser's own numbers hold exactly.
REGISTERS = {
    "rbp": "0xffffffffffffffff",
    "rdx": "0x8000000000000001",
    "rip": "0x00007ff6b3a41c2f",
    "rax": "0x0000000000000000",
}


def library_frame(number: int) -> dict[str, Any]:
    return {"function": f"library_{number}", "lineno": number, "context_line": "pass"}


def unfold(page: Page, event: str, function: str) -> Locator:
    open_row(page, event)
    row = frame(page, function)
    head(row).click()
    return row


def test_only_the_innermost_application_frame_is_open(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    open_row(page, "RateMissing")
    trace = page.get_by_role("article", name="RateMissing")
    open_frames = trace.locator('.frame-head[aria-expanded="true"]')
    expect(open_frames).to_have_count(1)
    expect(open_frames).to_contain_text("total")
    expect(open_frames).to_contain_text("shop/checkout.py:12")
    # A folded application frame still shows its line; a library frame does not.
    expect(frame(page, "check_out").get_by_test_id("context-line")).to_have_count(1)
    expect(frame(page, "dispatch_request").get_by_test_id("context-line")).to_have_count(0)


def test_library_frames_can_be_shown(visit: OpenPage, receiver: InspectorProcess) -> None:
    libraries = [library_frame(number) for number in range(LIBRARY_FRAMES)]
    own = {"function": "own", "lineno": 1, "context_line": "library()", "in_app": True}
    error = {"type": "Odd", "stacktrace": {"frames": [*libraries, own, *libraries]}}
    post_event(Dsn.parse(receiver.dsn), {"platform": "python", "exception": {"values": [error]}})
    page = visit(receiver.url).page
    open_row(page, "Odd")
    frames = page.get_by_test_id("frame")
    # Application frames, the library frame that called them, and the innermost one.
    expect(frames).to_have_count(3)
    page.get_by_role("button", name="All frames").click()
    expect(frames).to_have_count(2 * LIBRARY_FRAMES + 1)
    page.get_by_role("button", name="All frames").click()
    expect(frames).to_have_count(3)
    page.get_by_role("button", name=re.compile("Show 5 more frames")).first.click()
    expect(frames).to_have_count(3 + LIBRARY_FRAMES - 1)


def test_a_frame_unfolds_to_its_source_with_the_line_that_ran(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    open_row(page, "RateMissing")
    row = frame(page, "check_out")
    lines = row.get_by_test_id("context-line")
    expect(lines.locator("code")).to_have_text(["due = total(cart, customer.currency)"])
    head(row).click()
    expect(lines).to_have_count(7)
    expect(lines.first).to_have_text(re.compile("^16"))
    expect(row.get_by_role("list", name="Source code")).to_have_attribute("start", "16")
    expect(lines.last).to_contain_text("return customer.charge(due)")
    active = row.locator("[aria-current]")
    expect(active).to_have_count(1)
    expect(active.locator("code")).to_have_text("due = total(cart, customer.currency)")
    head(row).click()
    expect(lines).to_have_count(1)


def test_variables_use_the_platforms_notation_and_are_exact(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    row = unfold(page, "RateMissing", "check_out")
    variables = row.get_by_role("group", name="Variables")
    expect(variables).to_contain_text("coupon: None")
    expect(variables).to_contain_text("is_gift: False")
    expect(variables).to_contain_text("'SEK'")
    expect(variables).to_contain_text("visits: 9007199254740993")
    open_row(page, "Cannot read properties")
    variables = frame(page, "CartView.render").get_by_role("group", name="Variables")
    expect(variables).to_contain_text("lines: undefined")
    expect(variables).to_contain_text("true")
    expect(variables).to_contain_text("null")


def test_a_redacted_variable_shows_its_rule_and_method(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    row = unfold(page, "RateMissing", "check_out")
    row.get_by_role("button", name="Show more variables").click()
    redacted = row.get_by_role("note").filter(has_text="[Filtered]")
    tooltip = redacted.get_by_role("tooltip")
    expect(tooltip).to_be_hidden()
    redacted.hover()
    expect(tooltip).to_be_visible()
    expect(tooltip).to_have_text("Replaced because of the PII rule “@password:filter”")
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()


def test_long_variables_can_be_expanded_and_clicks_inside_do_not_fold(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    row = unfold(page, "RateMissing", "check_out")
    variables = row.get_by_role("group", name="Variables")
    box = variables.locator(".fc-clipped-content")
    assert height(box) <= 100
    more = row.get_by_role("button", name="Show more variables")
    more.click()
    assert height(box) > 124
    expect(head(row)).to_have_attribute("aria-expanded", "true")
    variables.get_by_text("'NOK'").click()
    variables.locator("dt").first.click()
    row.get_by_test_id("context-line").first.click()
    row.get_by_role("button", name="Show less variables").click()
    assert height(box) <= 100
    expect(head(row)).to_have_attribute("aria-expanded", "true")


def test_a_register_toggles_between_exact_hexadecimal_and_decimal(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    open_row(page, "EXCEPTION_ACCESS_VIOLATION")
    for name, hexadecimal in REGISTERS.items():
        value = register(page, name)
        expect(value).to_have_text(hexadecimal)
        value.click()
        expect(value).to_have_text(str(int(hexadecimal, 16)))
        value.click()
        expect(value).to_have_text(hexadecimal)


def test_registers_are_in_cpu_order_without_empty_ones(
    visit: OpenPage, demo: InspectorProcess
) -> None:
    page = visit(demo.url).page
    open_row(page, "EXCEPTION_ACCESS_VIOLATION")
    names = frame(page, "render::Scene::draw(render::Camera const&)").locator(".fc-register-name")
    expect(names).to_have_text(["rax", "rdx", "rcx", "rbx", "rbp", "rsp", "r8", "rip", "xmm0"])
    unreadable = register(page, "xmm0")
    expect(unreadable).to_have_text("not a number")
    unreadable.click()
    expect(unreadable).to_have_text("not a number")


def test_an_assembly_is_split_into_its_parts(visit: OpenPage, demo: InspectorProcess) -> None:
    page = visit(demo.url).page
    open_row(page, "System.TimeoutException")
    parts = frame(page, "Create(Order order)").get_by_role("group", name="Assembly")
    expect(parts.locator("dd")).to_have_text(
        ["Shop.Billing", "3.2.0.0", "-", "adb9793829ddae60", re.compile("Invoices.cs")]
    )
    copied = copy(page, parts.get_by_role("button", name="Copy path").click)
    assert copied == "/src/Billing/Invoices.cs"
    # A missing public key is a dash.
    page.get_by_role("button", name="All frames").click()
    library = frame(page, "SendAsync")
    head(library).click()
    expect(library.get_by_role("group", name="Assembly").locator("dd").nth(3)).to_have_text("-")


def test_64_bit_numbers_are_exact_in_the_json(visit: OpenPage, demo: InspectorProcess) -> None:
    page = visit(demo.url).page
    open_row(page, "EXCEPTION_ACCESS_VIOLATION")
    page.get_by_role("tab", name="JSON").click()
    copied = copy(page, page.get_by_role("button", name="Copy event", exact=True).click)
    assert '"image_size": 9007199254740993' in copied


def register(page: Page, name: str) -> Locator:
    """The button with its value."""
    row = page.locator(".fc-register").filter(has=page.get_by_text(name, exact=True))
    return row.get_by_role("button")


def height(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box is not None
    return box["height"]
