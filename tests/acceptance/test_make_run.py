"""``make run``, as a newcomer types it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The configuration of the person who runs the tests, and make's own under `make test`.
_LEFT_OUT = ("CONSUMER_", "DJANGO_", "SENTRY_", "MAKE", "MFLAGS", "ARGS")


def test_make_run_delivers_the_demonstration(tmp_path: Path) -> None:
    # Everything else stays: set-up may need the machine's proxy to reach the registry.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_LEFT_OUT)}
    environment["XDG_CONFIG_HOME"] = str(tmp_path)
    run = subprocess.run(
        ["make", "run", "ARGS=--stop-at-end"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    delivered = re.search(r"(?m)^delivered ([\d,]+),", run.stdout)
    assert delivered is not None, run.stdout + run.stderr
    assert int(delivered[1].replace(",", "")) > 0
    assert "This is a demonstration" in run.stderr
