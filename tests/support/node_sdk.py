"""The Node SDK, fetched once into the checkout's cache, as a process that sends items."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.cache import fetched
from tests.support.node import machine_has_node
from tests.support.requirements import MissingPart

_SENDER: Final = Path(__file__).with_name("node_sender")


def start_node_sdk(dsn: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start ``node_sender/send.cjs``, which ends when all is sent.

    Raises MissingPart without Node; blocks while npm fetches the SDK the first time.
    """
    packages = fetched("node-sdk", _SENDER / "package-lock.json", _fetch_sdk)
    command = ["node", str(_SENDER / "send.cjs"), dsn, *arguments]
    return subprocess.Popen(command, env={**with_node(), "NODE_PATH": f"{packages}/node_modules"})


def _fetch_sdk(target: Path) -> None:
    target.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_SENDER / name, target)
    command = ["npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
    run = subprocess.run(
        command, cwd=target, env=with_node(), capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise MissingPart(f"npm could not fetch the Node SDK:\n{run.stdout}{run.stderr}")


def with_node() -> dict[str, str]:
    """The environment, with the Node of the set-up where the machine has none."""
    own = str(Path(sys.executable).parent)
    path = os.environ["PATH"] if machine_has_node() else f"{own}:{os.environ['PATH']}"
    if shutil.which("node", path=path) is None:
        raise MissingPart("no node on the PATH (make setup installs it)")
    return {**os.environ, "PATH": path}
