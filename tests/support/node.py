"""The Node that builds the inspector's page.

``python -m tests.support.node`` exits with 1 if the machine has no Node that is new enough.
"""

from __future__ import annotations

import re
import shutil
import subprocess

OLDEST_NODE = (20, 19)  # the minimum for Vite


def machine_has_node() -> bool:
    """Whether ``node`` and ``npm`` are on the PATH and Node is new enough."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    try:
        run = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    version = re.match(r"v(\d+)\.(\d+)", run.stdout)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST_NODE


if __name__ == "__main__":
    raise SystemExit(0 if machine_has_node() else 1)
