"""Build the Go sink, start it, and read its counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from tests.support.requirements import MissingPart

_SOURCE = Path(__file__).with_name("sink")


class Stats(NamedTuple):
    """Counts, and the Unix times of the first and the last acceptance (0 if there is none yet)."""

    accepted: int
    refused: int
    first_ns: int
    last_ns: int


class Sink:
    """A running sink that accepts every envelope and keeps none. It ends with this process.

    Raises MissingPart without Go.
    """

    def __init__(self, folder: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise MissingPart("go is not on the PATH: install Go 1.21 or newer (https://go.dev/dl)")
        program = folder / "sink"
        subprocess.run(
            [go, "build", "-buildvcs=false", "-o", str(program), "."],
            cwd=_SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"},
            check=True,
        )
        # The pipe to its standard input closes when this process ends, for whatever reason.
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        self.address = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
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
        with urllib.request.urlopen(self.address + "/stats", timeout=10) as answer:
            return Stats(**orjson.loads(answer.read()))

    def reset(self) -> None:
        """Reset all counts. Call it only while nothing sends."""
        with urllib.request.urlopen(self.address + "/reset", data=b"", timeout=10):
            pass
