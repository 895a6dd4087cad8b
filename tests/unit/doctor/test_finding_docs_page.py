"""docs/doctor.md explains every check."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PARTS = "kafka|topic|group|dead_letters|destination|machine"
# group.protocol is a setting of librdkafka.
NAME = re.compile(rf"configuration|service|({PARTS})\.(?!protocol)[a-z]+")


def test_every_check_is_explained_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| `([a-z._]+)` \|", (ROOT / "docs" / "doctor.md").read_text())
    named = {
        node.value
        for path in (ROOT / "consumer_fleet" / "doctor").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and NAME.fullmatch(node.value)
    }
    assert set(rows) == named
    assert len(rows) == len(named)
