"""The project as users install it: a wheel in an environment of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.requirements import require

ROOT = Path(__file__).resolve().parents[2]
_UV = Path(sys.executable).with_name("uv")
_PINS = ROOT / "requirements" / "dev.txt"


def uv(*arguments: object) -> None:
    """Run uv with the machine's registry, certificates and cache."""
    if not _UV.exists():
        require("uv", f"{_UV} is not there: make setup installs it")
    # uv would install into the environment that VIRTUAL_ENV names: the checkout's.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    command = [str(_UV), *map(str, arguments)]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=170, check=False
    )
    assert run.returncode == 0, run.stderr


def build_wheel(folder: Path, source: Path = ROOT) -> Path:
    """Build the wheel of this checkout, or of another ``source``, into ``folder``."""
    uv("build", "--wheel", "--build-constraint", _PINS, "--out-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


def shared_wheel(folder: Path) -> Path:
    """This checkout's wheel in ``folder``, built by the first process that asks for it."""
    with (folder / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = list((folder / "dist").glob("*.whl"))
        return built[0] if built else build_wheel(folder / "dist")


def unpacked_sdist(folder: Path) -> Path:
    """Build this checkout's source distribution and unpack it in ``folder``."""
    uv("build", "--sdist", "--build-constraint", _PINS, "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def install(folder: Path, *packages: object) -> Path:
    """Create an environment of these packages and their pinned dependencies; return its ``bin``."""
    environment = folder / "venv"
    uv("venv", "--python", sys.executable, environment)
    python = environment / "bin" / "python"
    uv("pip", "install", "--python", python, "--constraint", _PINS, *packages)
    return environment / "bin"


def run(*command: object, folder: Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder``, with nothing of the checkout in its environment."""
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
