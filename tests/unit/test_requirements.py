"""The pinned requirements: complete, hashed, and free of any registry's address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def normalized(requirement: str) -> str:
    """The distribution's name in a requirement, as registries compare it."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pinned(lock: Path) -> dict[str, str]:
    return {
        normalized(line): line
        for line in lock.read_text().splitlines()
        if line and not line.startswith((" ", "#"))
    }


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_is_exact_and_has_hashes_and_no_address(lock: Path) -> None:
    assert "://" not in lock.read_text()
    for line in pinned(lock).values():
        assert "==" in line
        assert line.endswith("\\"), f"no hash follows {line}"


def test_every_dependency_of_the_project_is_pinned() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    missing = {normalized(each) for each in wanted} - pinned(ROOT / "requirements/dev.txt").keys()
    assert missing == set(), "run `make lock`"


def test_running_and_developing_install_the_same_versions() -> None:
    """``make run`` and ``make test`` install into one environment, in any order."""
    run, dev = (pinned(ROOT / f"requirements/{name}.txt") for name in ("run", "dev"))
    assert {name: line for name, line in run.items() if dev.get(name) != line} == {}
