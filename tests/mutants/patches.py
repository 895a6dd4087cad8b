"""The planted bugs: one patch file each, with the promise that it breaks and who must notice."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

FOLDER: Final = Path(__file__).with_name("patches")
_HEADER = re.compile(r"^(Promise|Tests|Equivalent): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch file: lines ``Promise:`` and ``Tests:`` (paths, with spaces between), then a diff.

    A bug that no test could notice has ``Equivalent:`` and the reason instead of ``Tests:``.
    """

    path: Path
    promise: str
    tests: tuple[str, ...]
    equivalent: str | None

    @property
    def name(self) -> str:
        return self.path.stem

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises ValueError if its header is not complete."""
        head = path.read_text().split("--- a/", 1)[0]
        fields: dict[str, str] = dict(_HEADER.findall(head))
        equivalent = fields.get("Equivalent")
        if "Promise" not in fields or ("Tests" in fields) == (equivalent is not None):
            raise ValueError(f"{path.name}: needs Promise: and either Tests: or Equivalent:")
        return cls(path, fields["Promise"], tuple(fields.get("Tests", "").split()), equivalent)

    def apply(self, tree: Path, *options: str) -> str | None:
        """Apply the diff to ``tree``; with ``-R``, take it back. Returns why it does not apply."""
        run = subprocess.run(
            ["git", "apply", "--whitespace=nowarn", *options, str(self.path)],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        return run.stderr.strip() or "git apply failed" if run.returncode else None

    @property
    def changed(self) -> list[str]:
        """The files that the diff changes."""
        return re.findall(r"^\+\+\+ b/(\S+)", self.path.read_text(), re.MULTILINE)


def all_mutants() -> list[Mutant]:
    return [Mutant.read(path) for path in sorted(FOLDER.glob("*.patch"))]
