"""``consumer inspect`` as a process: its output and its page."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.support.consumer_process import CommandProcess
from tests.support.processes import wait_until

_PAGE = re.compile(r"^  Page  (http://\S+/)$", re.MULTILINE)
_DSN = re.compile(r"^  DSN   (http://\S+)$", re.MULTILINE)


class InspectorProcess(CommandProcess):
    """Runs from its construction, when the page is available, to the end of the block."""

    def __init__(
        self, folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("inspector", folder, ("inspect", *arguments), environment)
        try:
            self._process.wait_ready(lambda: _PAGE.search(self.output()) is not None, timeout_s=60)
        except BaseException:
            self._process.kill()
            raise
        self.url = _PAGE.findall(self.output())[0]

    @property
    def dsn(self) -> str:
        return str(_DSN.findall(self.output())[0])

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, timeout_s: float = 10
    ) -> Any:
        """The JSON of a response; raises HTTPError unless it is 2xx."""
        request = urllib.request.Request(self.url.rstrip("/") + path, headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)

    def events(self, query: str = "limit=1000") -> list[dict[str, Any]]:
        """The entries, the newest first."""
        found: list[dict[str, Any]] = self.get(f"/api/events?{query}")["events"]
        return found

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        wait_until(condition, timeout_s=timeout_s, what=what)

    def wait_for_events(self, count: int) -> list[dict[str, Any]]:
        """Block until this many are stored."""
        self.wait_for(lambda: len(self.events()) >= count, f"{count} entries")
        return self.events()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send one signal; returns the exit code."""
        os.kill(self.pid, number)
        return self._process.wait(30)

    def rss_mb(self) -> float:
        """Resident memory of the process."""
        return self._memory_mb("VmRSS")

    def peak_rss_mb(self) -> float:
        """Peak resident memory of the process."""
        return self._memory_mb("VmHWM")

    def _memory_mb(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        (kib,) = re.findall(rf"{name}:\s+(\d+) kB", status)
        return int(kib) / 1024
