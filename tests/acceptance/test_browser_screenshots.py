"""The screenshots of docs/: present, used, small, and made by the repository's command."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.browser import LOOKS, SHOTS, THEMES, WIDTHS, take_screenshots

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/screenshots"
NAMES = sorted(
    f"{name}-{theme}-{width}.png" for name in SHOTS for theme in THEMES for width in WIDTHS
)
LIMIT_BYTES = 300 * 1000


def test_the_screenshots_are_those_of_the_command(browser: Browser, tmp_path: Path) -> None:
    # One look of each: the others differ in what the browser does with the same page.
    taken = take_screenshots(tmp_path, browser, LOOKS[-1:])
    assert {path.name for path in taken} == {f"{name}-dark-390.png" for name in SHOTS}
    for path in taken:
        assert size(path) == size(FOLDER / path.name)


@pytest.mark.parametrize("name", NAMES)
def test_each_screenshot_is_shown_and_small(name: str) -> None:
    page = "fleet.md" if name.startswith("fleet") else "inspector.md"
    assert f"screenshots/{name}" in (ROOT / "docs" / page).read_text()
    assert (FOLDER / name).stat().st_size < LIMIT_BYTES


def size(picture: Path) -> tuple[int, int]:
    """Width and height, from the head of a PNG file."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height
