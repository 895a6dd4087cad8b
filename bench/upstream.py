"""Build bench's Go programs, start the sink, and read its counts."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from tests.support.requirements import MissingPart

_FOLDER = Path(__file__).parent


class Stats(NamedTuple):
    """Counts, and the Unix times of the first and the last acceptance (0 if there is none yet).

    ``distinct`` counts events by their ids, if the sink remembers them; ``ambiguous`` the events
    that were accepted although their sender saw a failure.
    """

    accepted: int
    refused: int
    first_ns: int
    last_ns: int
    distinct: int = 0
    ambiguous: int = 0


def build(name: str, folder: Path) -> Path:
    """Build the Go program in bench/NAME into the folder. Raises MissingPart without Go."""
    go = shutil.which("go")
    if go is None:
        raise MissingPart("go is not on the PATH: install Go 1.26 or newer (https://go.dev/dl)")
    program = folder / name
    subprocess.run(
        [go, "build", "-buildvcs=false", "-trimpath", "-mod=readonly", "-o", str(program), "."],
        cwd=_FOLDER / name,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
        check=True,
    )
    return program


class Sink:
    """A running sink that accepts every envelope and keeps none. It ends with this process.

    ``flags`` are those of bench/sink. Raises MissingPart without Go.
    """

    def __init__(self, folder: Path, *flags: str, tls: bool = False) -> None:
        program = folder / "sink"
        if not program.exists():
            build("sink", folder)
        if tls:
            flags = (*flags, "-tls", str(folder))
        # The pipe to its standard input closes when this process ends, for whatever reason.
        self._process = subprocess.Popen(
            [program, *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        port = int(self._process.stdout.readline())
        self.ca_file = str(folder / "ca.pem") if tls else None
        self._context = ssl.create_default_context(cafile=self.ca_file) if tls else None
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.dsn = self.address.replace("//", "//key@") + "/1"
        self.url = self.address + "/api/1/envelope/"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stats(self) -> Stats:
        return Stats(**orjson.loads(self._get("/stats")))

    def times(self) -> dict[str, int]:
        """Return the Unix time in ns of each event's first acceptance, by the event's id."""
        lines = (line.split() for line in self._get("/times").decode().splitlines())
        return {event_id: int(time_ns) for event_id, time_ns in lines}

    def reset(self) -> None:
        """Reset all counts. Call it only while nothing sends."""
        self._get("/reset", b"")

    def _get(self, path: str, data: bytes | None = None) -> bytes:
        url = self.address + path
        with urllib.request.urlopen(url, data, timeout=10, context=self._context) as answer:
            body: bytes = answer.read()
            return body
