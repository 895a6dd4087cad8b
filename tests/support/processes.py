"""Child processes that never outlive the test run, and their logs."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that nothing listens on.

    They are below the range from which the kernel takes ports for clients and for port 0: no other
    process of a parallel run gets one by chance before the caller listens on it.
    """
    found: list[int] = []
    while len(found) < count:
        port = secrets.choice(range(10_000, 32_768))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def wait_until(
    condition: Callable[[], bool], *, timeout_s: float, what: str, interval_s: float = 0.05
) -> None:
    """Return once ``condition`` holds; raise TimeoutError, naming ``what``, if it never does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(interval_s)


def _die_with_parent() -> None:
    # pytest-timeout ends the run with os._exit, which runs no atexit function.
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ManagedProcess:
    """One child in a process group of its own, with its output in a file.

    Start it from a thread that lives as long as the child is needed: on Linux the kernel kills
    the child when that thread ends.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 -- one system call, bound beforehand
            )
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def wait_ready(self, condition: Callable[[], bool], *, timeout_s: float) -> None:
        """Block until ``condition`` holds; a child that ends or hangs raises with its log."""

        def ready() -> bool:
            if not self.is_running:
                code = self._popen.returncode
                raise RuntimeError(f"{self.name} ended with {code}:\n{self.log_tail()}")
            return condition()

        try:
            wait_until(ready, timeout_s=timeout_s, what=f"{self.name} to be ready")
        except TimeoutError as error:
            raise RuntimeError(f"{error}:\n{self.log_tail()}") from error

    def wait(self, timeout_s: float) -> int:
        """Block until the child has ended; returns its exit code."""
        return self._popen.wait(timeout_s)

    def terminate(self, *, timeout_s: float = 20) -> None:
        """Ask the child to stop; kill its whole group if it is not gone after ``timeout_s``."""
        self._popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout_s)
        self.kill()

    def kill(self) -> None:
        """Kill the child and everything that it started. Harmless when it is gone."""
        # The group outlives its leader while one member runs, and its number is not reused before.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        atexit.unregister(self.kill)

    def log_tail(self, lines: int = 60) -> str:
        """Return the last lines that the child printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
