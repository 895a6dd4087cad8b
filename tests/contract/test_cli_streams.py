"""The command where its surroundings are poor: no stderr, a full one, few files, few characters."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.support.consumer_process import CONSUMER, clean_environment

WRONG = ("config", "--set", "wrong=1")
DEMONSTRATION = ("run", "--topic", "events", "--stop-at-end", "--workers", "1")


def shell(command: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run the consumer with ``arguments`` as the end of a shell's command."""
    return subprocess.run(
        ["bash", "-c", command, "bash", CONSUMER, *arguments],
        env={**clean_environment(), **environ},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "0<&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"), [(("list",), 0), (WRONG, 78), (("nope",), 2), (DEMONSTRATION, 0)]
)
def test_the_exit_code_is_the_same_without_a_working_stderr(
    closed: str, arguments: tuple[str, ...], code: int
) -> None:
    run = shell(f'"$@" {closed}', *arguments)
    assert run.returncode == code
    assert bool(run.stdout) is (code == 0)


def test_a_closed_output_changes_no_exit_code_either() -> None:
    assert shell('"$@" >&- 2>&-', "list").returncode == 0
    assert shell('"$@" >&- 2>&-', *WRONG).returncode == 78


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_characters_that_a_terminal_lacks_are_escaped(encoding: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "…→")
    run = shell('"$@"', "config", "--config", missing, PYTHONIOENCODING=encoding)
    assert run.returncode == 78
    assert b"there is no configuration file" in run.stderr
    run = shell('"$@"', "config", "--set", "group=…→", PYTHONIOENCODING=encoding)
    assert run.returncode == 0
    assert b"group" in run.stdout


@pytest.mark.parametrize("limit", [24, 60])
def test_a_limit_of_open_files_that_is_too_low_is_named(limit: int) -> None:
    run = shell(f'ulimit -n {limit}; "$@"', *DEMONSTRATION)
    assert run.returncode == 78
    assert f"may open {limit} files (ulimit -n)".encode() in run.stderr
    assert shell(f'ulimit -n {limit}; "$@"', "list").returncode == 0


def test_a_soft_limit_of_open_files_is_raised() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 256:
        pytest.skip("the hard limit is too low")
    assert shell('ulimit -Sn 30; "$@"', *DEMONSTRATION).returncode == 0


def test_a_topic_of_249_characters_needs_a_name_for_its_dead_letters() -> None:
    topic = ("--set", f"physical_topic={'x' * 249}")
    run = shell('"$@"', *DEMONSTRATION, *topic)
    assert run.returncode == 78
    assert b"Name a dead-letter topic with --set dlq_topic=NAME" in run.stderr
    run = shell('"$@"', *DEMONSTRATION, *topic, "--set", "dlq_topic=dead")
    assert run.returncode == 0, os.fsdecode(run.stderr)
