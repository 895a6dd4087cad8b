"""``consumer completion``: what a shell completes with the script that it prints."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from consumer_fleet.consumers.registry import CONSUMERS
from tests.support.consumer_process import CONSUMER, clean_environment, run_command

# Calls the function as bash does when the tab key is pressed after the last word.
_PRESS_TAB = """
source <(consumer completion bash) || exit 1
complete -p consumer > /dev/null || exit 2
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_consumer_completion consumer
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(*words: str) -> list[str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on this machine")
    environment = clean_environment()
    environment["PATH"] = f"{Path(CONSUMER).parent}:{environment['PATH']}"
    run = subprocess.run(
        [bash, "-c", _PRESS_TAB, "bash", "consumer", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stderr == ""
    return run.stdout.split()


def test_bash_completes_commands() -> None:
    assert completed("do") == ["doctor"]
    assert {"run", "config", "doctor", "completion"} <= set(completed(""))


def test_bash_completes_options_and_their_choices() -> None:
    assert completed("run", "--auto-off") == ["--auto-offset-reset"]
    assert completed("run", "--auto-offset-reset", "") == ["earliest", "latest", "error"]
    assert completed("completion", "") == ["bash", "zsh", "fish"]


def test_bash_completes_the_names_of_consumers() -> None:
    assert completed("doctor", "--topic", "") == [each.name for each in CONSUMERS]
    assert completed("doctor", "--topic", "ingest-e") == ["ingest-events"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_scripts_ask_the_same_program(shell: str) -> None:
    run = run_command("completion", shell)
    assert run.returncode == 0
    assert f"_CONSUMER_COMPLETE={shell}_complete" in run.stdout
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=run.stdout, text=True, check=True, timeout=60)


def test_an_unknown_shell_is_a_usage_error() -> None:
    run = run_command("completion", "tcsh")
    assert run.returncode == 2
    assert "'bash', 'zsh', 'fish'" in run.stderr
