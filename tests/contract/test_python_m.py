"""``python -m consumer_fleet`` is the command ``consumer``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.consumer_process import clean_environment, run_command


def run_module(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumer_fleet", *arguments],
        env=clean_environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    "arguments", [("--version",), ("list", "--json"), ("run", "--help"), ("no-such-command",)]
)
def test_it_prints_and_ends_as_the_command_does(arguments: tuple[str, ...], tmp_path: Path) -> None:
    module, command = run_module(*arguments, cwd=tmp_path), run_command(*arguments, cwd=tmp_path)
    assert module.returncode == command.returncode
    # Only the name of the program differs.
    own, name = "python -m consumer_fleet", "consumer"
    assert module.stdout.replace(own, name) == command.stdout
    assert module.stderr.replace(own, name) == command.stderr


def test_its_worker_processes_boot_and_deliver(tmp_path: Path) -> None:
    arguments = ("--topic", "events", "--stop-at-end", "--workers", "2")
    run = run_module("run", *arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    delivered = re.search(r"(?m)^delivered ([\d,]+),", run.stdout)
    assert delivered is not None, run.stdout + run.stderr
    assert int(delivered[1].replace(",", "")) > 1000
