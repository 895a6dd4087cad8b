"""The rows, and what the documentation says of them."""

from __future__ import annotations

from pathlib import Path

from tests.chaos import table
from tests.chaos.rows import ROWS

_GUARANTEES = Path(__file__).resolve().parents[2] / "docs" / "guarantees.md"


def test_the_guarantees_name_each_promise_and_its_proof() -> None:
    """``python -m tests.chaos --list`` prints the table."""
    assert table.promises(table.chosen([])) in _GUARANTEES.read_text()


def test_a_row_is_chosen_by_its_name_or_its_family() -> None:
    assert [row.name for row in table.chosen(["kills"])] == ["kills"]
    assert [row.name for row in table.chosen(["consumers"])] == ["kills", "rolling", "frozen"]
    assert len(table.chosen([])) == len(ROWS)
