"""Logs are readable as a table, whatever they contain."""

from __future__ import annotations

import sentry_sdk
from playwright.sync_api import expect
from sentry_sdk import logger

from tests.support.browser import Look, OpenPage, open_row
from tests.support.inspector_process import InspectorProcess

MARKUP = "<img src=x onerror='window.ran = true'>" + "w" * 3_000


def test_the_logs_of_the_python_sdk_are_a_table(
    visit: OpenPage, receiver: InspectorProcess
) -> None:
    with sentry_sdk.isolation_scope() as scope:
        client = sentry_sdk.Client(dsn=receiver.dsn, default_integrations=False, enable_logs=True)
        scope.set_client(client)
        logger.info("checkout: low stock of {item}", item="tea", attributes={"shop": "Basel"})
        logger.warning(MARKUP)
        client.close()
    page = visit(receiver.url, Look(width=390)).page
    open_row(page, "(and 1 more log)")
    logs = page.get_by_role("table").get_by_role("row")
    expect(logs).to_have_count(3)
    expect(logs.nth(1)).to_contain_text("INFO")
    expect(logs.nth(1).get_by_role("button")).to_have_text("checkout: low stock of tea")
    expect(logs.nth(1)).not_to_contain_text("Basel")
    logs.nth(1).get_by_role("button").click()
    expect(logs.nth(1)).to_contain_text("Basel")
    expect(logs.nth(2)).to_contain_text("WARNING")
    expect(logs.nth(2)).to_contain_text("<img src=x")
    assert page.evaluate("window.ran ?? null") is None
    assert page.evaluate("document.documentElement.scrollWidth") == 390
