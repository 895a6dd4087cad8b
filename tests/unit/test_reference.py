"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer_fleet.reference import reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_page_is_the_commands_own() -> None:
    assert PAGE.read_text() == reference(), "run: python -m consumer_fleet.reference > docs/cli.md"


def test_the_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = reference()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")
    assert reference() == wide


def test_the_page_has_every_command_with_usage_and_examples() -> None:
    sections = dict(re.findall(r"(?ms)^## (consumer.*?)\n(.*?)(?=^## |\Z)", reference()))
    assert {"consumer", "consumer run", "consumer doctor", "consumer completion"} <= set(sections)
    for path, text in sections.items():
        assert f"```\n{path} " in text, f"{path} has no usage"
    assert "| `--workers N` | Worker processes; default: usable CPUs. |" in sections["consumer run"]
    assert "Exit codes:\n\n```\n0 " in sections["consumer doctor"]
    assert "Examples:\n\n```\nconsumer doctor" in sections["consumer doctor"]
    assert "| `--help`" not in reference()
