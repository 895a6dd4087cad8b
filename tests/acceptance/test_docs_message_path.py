"""CONTRIBUTING follows a message through the source by file names alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAX_FILES = 22


def path_of_a_message() -> list[str]:
    """Return the files that CONTRIBUTING names, in its order."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(r"(?ms)^## Follow a message\n(.*?)(?=^## )", page)
    assert found is not None
    return re.findall(r"`((?:consumer_fleet|consumers|strategies)/[\w/]+\.py)`", found[1])


def imported_by(path: str) -> set[str]:
    """Return the files of the package that a file imports, in its functions too."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    files = (f"{name.replace('.', '/')}.py" for name in names)
    return {file.removeprefix("consumer_fleet/") for file in files}


def test_the_path_is_short_and_never_goes_back() -> None:
    path = path_of_a_message()
    assert path[0] == "consumer_fleet/run/run.py"
    assert "consumer_fleet/capture/destination.py" in path
    assert len(path) <= MAX_FILES
    assert len(set(path)) == len(path)


def test_each_file_imports_an_earlier_one_or_is_imported_by_it() -> None:
    path = path_of_a_message()
    imports = {each: imported_by(each) for each in path}
    for number, file in enumerate(path[1:], start=1):
        short = file.removeprefix("consumer_fleet/")
        assert any(
            short in imports[earlier] or earlier.removeprefix("consumer_fleet/") in imports[file]
            for earlier in path[:number]
        ), f"nothing on the path leads to {file}"
