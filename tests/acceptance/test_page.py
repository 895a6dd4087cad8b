"""The tests of the inspector's page, which Vitest runs, beside all others."""

from __future__ import annotations

import subprocess

from tests.support.node_sdk import with_node
from tests.support.requirements import MissingPart, require
from tests.support.wheel import ROOT

WEB = ROOT / "consumer_fleet" / "inspector" / "web"


def test_the_tests_of_the_page_pass() -> None:
    vitest = WEB / "node_modules" / ".bin" / "vitest"
    try:
        environment = with_node()
        if not vitest.exists():
            raise MissingPart("npm has not installed it (make setup does)")
    except MissingPart as error:
        require("Vitest", str(error))
    run = subprocess.run(
        [vitest, "run"], cwd=WEB, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
