"""A destination for pods that is fast enough for several consumers: it records only event ids.

``python -m tests.cluster.receiver ADDRESS`` runs it; ``Receiver`` is that process for a test.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import orjson

from tests.support.processes import ManagedProcess
from tests.support.wheel import ROOT

_START_TIMEOUT_S = 60
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Accepted(NamedTuple):
    """The time (Unix) at which an event was accepted, and its id."""

    time_s: float
    event_id: str


class Receiver:
    """A running receiver. Every test has a project of its own; it accepts everything."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address = address
        self._process = ManagedProcess(
            "receiver",
            [sys.executable, "-m", "tests.cluster.receiver", address],
            log=folder / "receiver.log",
            env=os.environ,
            cwd=ROOT,
        )
        self._process.wait_ready(
            lambda: self._process.log.read_text().strip().isdecimal(), timeout_s=_START_TIMEOUT_S
        )
        self._port = int(self._process.log.read_text())

    def close(self) -> None:
        self._process.kill()

    def dsn(self, project: int) -> str:
        return f"http://key@{self._address}:{self._port}/{project}"

    def answer_after(self, project: int, seconds: float) -> None:
        """Delay each further answer to this project."""
        self._ask(f"delay/{project}/{seconds:g}")

    def count(self, project: int) -> int:
        return int(self._ask(f"count/{project}"))

    def accepted(self, project: int) -> list[Accepted]:
        """Return the events of the project's accepted envelopes, in order; skip other items."""
        return [Accepted(*each) for each in orjson.loads(self._ask(f"accepted/{project}"))]

    def event_ids(self, project: int) -> Counter[str]:
        return Counter(each.event_id for each in self.accepted(project))

    def _ask(self, path: str) -> bytes:
        url = f"http://{self._address}:{self._port}/{path}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return bytes(answer.read())


class _Notes:
    """The envelope headers with their times, and the delay of answers, by project."""

    def __init__(self) -> None:
        self.headers: dict[str, list[tuple[float, bytes]]] = {}
        self.delays: dict[str, float] = {}

    def answer(self, path: str, body: bytes) -> bytes:
        match path.strip("/").split("/"):
            case ["api", project, "envelope"]:
                header = body.partition(b"\n")[0]
                self.headers.setdefault(project, []).append((time.time(), header))
                return b"{}"
            case ["count", project]:
                return str(len(self.headers.get(project, ()))).encode()
            case ["delay", project, seconds]:
                self.delays[project] = float(seconds)
                return b"{}"
            case ["accepted", project]:
                found = [
                    (time_s, orjson.loads(header).get("event_id"))
                    for time_s, header in self.headers.get(project, ())
                ]
                return orjson.dumps([each for each in found if each[1]])
        raise ValueError(f"unknown path {path}")

    def delay_s(self, path: str) -> float:
        return self.delays.get(path.split("/")[2], 0.0) if path.startswith("/api/") else 0.0


class _Connection(asyncio.Protocol):
    """Only as much HTTP/1.1 as the consumers and urllib write: bodies with a length."""

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take():
            pass

    def _take(self) -> bool:
        """Answer the first request of the buffer if it is complete."""
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        length = _LENGTH.search(self._buffer, 0, end)
        size = end + (int(length[1]) if length else 0)
        if len(self._buffer) < size:
            return False
        path = self._buffer.split(b" ", 2)[1].decode()
        body, self._buffer = self._buffer[end:size], self._buffer[size:]
        delay_s = self._notes.delay_s(path)
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._answer, path, body)
        else:
            self._answer(path, body)
        return True

    def _answer(self, path: str, body: bytes) -> None:
        # A client that disconnected got no answer, so nothing was accepted.
        if self._transport.is_closing():
            return
        answer = self._notes.answer(path, body)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}"
        self._transport.write(f"{head}\r\n\r\n".encode() + answer)


async def _serve(address: str) -> None:
    notes = _Notes()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(notes), address, 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 -- the command's output
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
