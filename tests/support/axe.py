"""Accessibility checks by axe-core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.support.requirements import MissingPart

_SCRIPT = (
    Path(__file__).resolve().parents[2]
    / "consumer_fleet/inspector/web"
    / "node_modules/axe-core/axe.min.js"
)


def serious_violations(page: Page) -> list[str]:
    """Serious and critical violations with their elements. Raises MissingPart without axe-core.

    The script comes in through the debugger, which the page's policy does not bind.
    """
    if not _SCRIPT.is_file():
        raise MissingPart("axe-core is not installed (make setup)")
    page.evaluate(_SCRIPT.read_text() + "; undefined")
    found: dict[str, Any] = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    # This rule requires a real browser; without it, "no violations" would mean little.
    ran = {rule["id"] for kind in ("passes", "violations") for rule in found[kind]}
    assert "color-contrast" in ran
    return [
        f"{rule['id']}: {rule['help']} at {[node['target'] for node in rule['nodes']]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
