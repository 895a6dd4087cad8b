"""``consumer run`` as a process: its JSON log, its signals, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from click.testing import CliRunner

from consumer_fleet.cli import main
from tests.support.processes import ManagedProcess, wait_until

CONSUMER = str(Path(sys.executable).with_name("consumer"))
_OWN = ("CONSUMER_", "DJANGO_", "SENTRY_")
_KEPT = ("PATH", "HOME", "LANG", "CI", "TMPDIR")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without this machine's own CONSUMER_ and DJANGO_ variables."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}


def run_command(
    *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``consumer …`` to its end, for at most a minute."""
    return subprocess.run(
        [CONSUMER, *arguments],
        env=clean_environment(environment),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def call_command(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``consumer …`` within this process, whose imports are done: for what ends in an error
    before the command boots.
    """
    cleared = dict.fromkeys(each for each in os.environ if each.startswith(_OWN))
    called = CliRunner().invoke(main, arguments, env={**cleared, **(environment or {})})
    return subprocess.CompletedProcess(arguments, called.exit_code, called.stdout, called.stderr)


class CommandProcess:
    """A running ``consumer …``, with its output in a file NAME-N.log of ``folder``; its whole
    process group is killed at the end of the block.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None,
        program: str = CONSUMER,
    ) -> None:
        self._name = name
        number = len(list(folder.glob(f"{name}-*.log")))
        self._process = ManagedProcess(
            name,
            [program, *arguments],
            log=folder / f"{name}-{number}.log",
            env=clean_environment(environment),
            cwd=folder,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(f"the {self._name}'s log:\n{self._process.log_tail()}")
        self._process.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def output(self) -> str:
        return self._process.log.read_text(errors="replace")


class ConsumerProcess(CommandProcess):
    """A running ``consumer run``, or another ``command`` that logs; ``program`` may be that of
    another version.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        command: Sequence[str] = ("run", "--log-format", "json"),
        environment: Mapping[str, str] | None = None,
        program: str = CONSUMER,
    ) -> None:
        super().__init__("consumer", folder, (*command, *arguments), environment, program)

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log events of that name so far."""
        found = []
        for line in self.output().splitlines():
            if line.startswith("{"):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # the last line may be half written
                if event.get("event") == name:
                    found.append(event)
        return found

    def wait_for(self, name: str, count: int = 1, *, timeout_s: float = 60) -> list[dict[str, Any]]:
        """Block until the log has ``count`` events of that name."""
        self.wait_until(lambda: len(self.events(name)) >= count, f"{count} x {name}", timeout_s)
        return self.events(name)

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        """Block until the condition holds; fail if the consumer ends before."""

        def holds() -> bool:
            if condition():
                return True
            if not self.is_running:
                raise AssertionError(f"the consumer ended while the test waited for {what}")
            return False

        wait_until(holds, timeout_s=timeout_s, what=what)

    def wait(self, timeout_s: float = 90) -> int:
        """Block until the consumer has ended; return its exit code."""
        return self._process.wait(timeout_s)

    def signal(self, number: signal.Signals) -> None:
        """Signal the consumer but not its workers, as Kubernetes does."""
        os.kill(self.pid, number)

    def worker_pids(self, workers: int = 1) -> list[int]:
        """Block until that many workers are ready; return the ready ones' newest process ids."""
        newest: dict[int, int] = {}

        def are_ready() -> bool:
            newest.update((each["worker"], each["pid"]) for each in self.events("worker_ready"))
            return len(newest) >= workers

        self.wait_until(are_ready, f"{workers} ready workers")
        return list(newest.values())

    def delivered(self) -> int:
        """Return the summary's count; the consumer must have ended."""
        (summary,) = self.events("summary")
        return int(summary["delivered"])
