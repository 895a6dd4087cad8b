"""The generated pages of docs/ are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer_fleet.config_command import example_yaml
from consumer_fleet.reference import cli_page, options_page, write_pages

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("cli.md", "metrics.md", "options.md")


def test_the_pages_are_up_to_date(tmp_path: Path) -> None:
    (tmp_path / "options.md").write_text((DOCS / "options.md").read_text())
    write_pages(tmp_path)
    for name in PAGES:
        assert (DOCS / name).read_text() == (tmp_path / name).read_text(), "run: make docs"


def test_a_list_of_options_replaces_the_earlier_one() -> None:
    page = options_page("# Options\n\n```yaml\nold: 1\n```\n")
    assert page == f"# Options\n\n```yaml\n{example_yaml()}```\n"


def test_the_commands_page_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wide = cli_page()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")
    assert cli_page() == wide


def test_the_commands_page_has_every_command_with_usage_and_examples() -> None:
    sections = dict(re.findall(r"(?ms)^## (consumer.*?)\n(.*?)(?=^## |\Z)", cli_page()))
    assert {"consumer", "consumer run", "consumer doctor", "consumer completion"} <= set(sections)
    for path, text in sections.items():
        assert f"```\n{path} " in text, f"{path} has no usage"
    assert (
        "| `--workers N` | Worker processes; default: usable CPUs - 1. |"
        in sections["consumer run"]
    )
    assert "Exit codes:\n\n```\n0 " in sections["consumer doctor"]
    assert "Examples:\n\n```\nconsumer doctor" in sections["consumer doctor"]
    assert "| `--help`" not in cli_page()
