"""The project as others install it: a wheel, in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.requirements import require

ROOT = Path(__file__).resolve().parents[2]
_UV = Path(sys.executable).with_name("uv")
_PINS = ROOT / "requirements" / "dev.txt"


def uv(*arguments: object) -> None:
    """Run uv as the machine is set up for it: its registry, its certificates, its cache."""
    if not _UV.exists():
        require("uv", f"{_UV} is not there: make setup installs it")
    # Of the checkout's environment: it would be installed into.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [str(_UV), *map(str, arguments)]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    assert run.returncode == 0, run.stderr


def build_wheel(folder: Path) -> Path:
    """Build this checkout's wheel into ``folder``."""
    uv("build", "--wheel", "--build-constraint", _PINS, "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


def install(folder: Path, *packages: object) -> Path:
    """Make an environment with these and their pinned dependencies; gives its ``bin``."""
    environment = folder / "venv"
    uv("venv", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    uv("pip", "install", "--python", python, "--constraint", _PINS, *packages)
    return environment / "bin"


def run(*command: object, folder: Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """In ``folder``, with an environment that has nothing of the checkout."""
    return subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
