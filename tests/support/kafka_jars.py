"""Kafka's jars, fetched once into the checkout's cache."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.cache import fetched
from tests.support.java import find_java
from tests.support.requirements import MissingPart

_POM = Path(__file__).with_name("kafka_pom.xml")


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars; blocks while Maven fetches them the first time."""
    return fetched("kafka", _POM, _fetch)


def _fetch(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingPart("mvn is not on the PATH (install Maven: it fetches Kafka)")
    command = [maven, "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies"]
    command.append(f"-DoutputDirectory={target}")
    java_home = find_java().parent.parent
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "JAVA_HOME": str(java_home)},
    )
    if run.returncode:
        raise MissingPart(f"Maven could not fetch Kafka:\n{run.stdout}{run.stderr}")
