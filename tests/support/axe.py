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


def serious_violations(page: Page, *rules: str) -> list[str]:
    """Serious and critical violations with their elements, of these or of all rules.

    The script comes in through the debugger, which the page's policy does not bind. Raises
    MissingPart without axe-core.
    """
    if not _SCRIPT.is_file():
        raise MissingPart("axe-core is not installed (make setup)")
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(_SCRIPT.read_text() + "; undefined")
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    found: dict[str, Any] = page.evaluate("(options) => axe.run(document, options)", options)
    # This rule requires a real browser; without it, "no violations" would mean little.
    ran = {rule["id"] for kind in ("passes", "violations") for rule in found[kind]}
    assert "color-contrast" in ran
    return [
        f"{rule['id']}: {rule['help']} at {[node['target'] for node in rule['nodes']]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
