"""Source lines come from the checkout, at the event's commit where it has it, and only from it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.coverage.service import CoverageQuery, PathMapping
from consumer_fleet.inspector.source import SourceRoot
from tests.support.requirements import require

FILE = "/srv/app/shop/cart.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "shop").mkdir(parents=True)
    (folder / "shop/cart.py").write_text("".join(f"line {number}\n" for number in range(1, 41)))
    (tmp_path / "secret.py").write_text("secret\n")
    return folder


def text_at(root: SourceRoot, line: int, file: str = FILE, **more: str) -> str | None:
    found = root.lines(CoverageQuery(file, **more), line)
    return None if found is None else dict(found.lines).get(line)


def test_a_file_is_found_by_the_end_of_its_path(checkout: Path) -> None:
    root = SourceRoot(checkout)
    assert text_at(root, 20) == "line 20"
    assert text_at(root, 20, "cart.py", abs_path=FILE) == "line 20"
    found = root.lines(CoverageQuery(FILE), 20)
    assert found is not None
    assert [number for number, _ in found.lines] == list(range(13, 28))
    assert found.commit is None
    assert text_at(root, 99) is None


def test_a_mapping_names_the_file(checkout: Path) -> None:
    root = SourceRoot(checkout, (PathMapping("/build", "shop"),))
    assert text_at(root, 3, "/build/cart.py") == "line 3"


@pytest.mark.parametrize(
    "file",
    [
        "/x/../secret.py", "../secret.py", "/venv/site-packages/shop/cart.py", "shop/link.py",
        "shop/\0.py", "shop", "/etc/passwd", ".git/config", "/elsewhere/cart.py", "x" * 5000,
    ],
)  # fmt: skip
def test_nothing_else_is_read(checkout: Path, file: str) -> None:
    (checkout / "shop/link.py").symlink_to("../../secret.py")
    (checkout / "cart.py").write_text("another file of that name\n")
    assert text_at(SourceRoot(checkout), 1, file) is None


def test_the_lines_are_of_the_events_commit_if_the_checkout_has_it(checkout: Path) -> None:
    git = shutil.which("git")
    if git is None:
        require("git", "commits are read with it")

    def run(*arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        command = [git, "-C", str(checkout), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q")
    run("add", ".")
    run("commit", "-qm", "first")
    commit = run("rev-parse", "HEAD")
    (checkout / "shop/cart.py").write_text("changed\n" * 40)
    root = SourceRoot(checkout)
    assert text_at(root, 20, commit=commit) == "line 20"
    assert text_at(root, 20, commit="0" * 40) == "changed"
    assert text_at(root, 20, commit="--output=x") == "changed"
    found = root.lines(CoverageQuery(FILE, commit=commit), 20)
    assert found is not None
    assert found.commit == commit


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a folder"):
        SourceRoot(tmp_path / "missing")
