"""A destination that records what it accepts, and fails on command.

One event loop in a thread of its own serves all connections: 200,000 requests take seconds, and
what it has accepted is at hand for the oracle at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple, Self, TypeAlias

from tests.support.processes import free_ports

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_ID_MARK = b'"event_id":"'
_ID_LENGTH = 32
_PACE_INTERVAL_S = 0.1

EventId: TypeAlias = bytes


class Then(Enum):
    """What happens to a connection after an answer."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()  # it stays open, and nothing more comes


class Answer(NamedTuple):
    """One answer. A request with ``accepts`` is recorded before the first byte is written."""

    data: bytes
    accepts: bool
    then: Then = Then.KEEP
    bytes_per_s: int = 0  # 0 is all at once

    @property
    def is_ambiguous(self) -> bool:
        """Whether the sender can't know that the request was accepted."""
        return self.accepts and self.data != OK


def response(status: str, *headers: str, body: bytes = b"{}") -> bytes:
    """Build an answer's bytes from ``503 Service Unavailable`` and header lines."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + _HEAD_END + body


OK = response("200 OK", "content-type: application/json", body=b'{"id":"' + b"0" * 32 + b'"}')
ACCEPT = Answer(OK, accepts=True)


class Request(NamedTuple):
    """``attempt`` counts the requests with this event ID, from 1."""

    event_id: EventId
    attempt: int
    body: bytes


Script: TypeAlias = Callable[[Request], Answer]


def share_of(seed: int, request: Request) -> float:
    """Return a number from 0 to 1 for this attempt: the same in every run with this seed."""
    text = b"%d/%b/%d" % (seed, request.event_id, request.attempt)
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest()) / (1 << 56)


class Receiver:
    """Use it as a context manager. ``accepted`` counts the accepted requests of each event ID,
    and ``failed`` the answers that are not ``ACCEPT``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepted: dict[EventId, int] = {}
        self.ambiguous = 0
        self.failed = 0
        self.script: Script = lambda _request: ACCEPT
        self._attempts: dict[EventId, int] = {}
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        (self.port,) = free_ports(1)
        self._scheme = "http"

    def __enter__(self) -> Self:
        self._thread.start()
        self._listen()
        return self

    def _listen(self, tls: ssl.SSLContext | None = None) -> None:
        async def listen() -> asyncio.Server:
            sock = socket.create_server(("127.0.0.1", self.port), backlog=256)
            return await self._loop.create_server(lambda: _Connection(self), sock=sock, ssl=tls)

        self._server = asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def secure(self, tls: ssl.SSLContext) -> None:
        """End all connections, and speak TLS from now on, with another certificate if it did."""
        self._scheme = "https"
        asyncio.run_coroutine_threadsafe(self._end_connections(), self._loop).result(10)
        self._listen(tls)

    async def _end_connections(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.transport.abort()

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._end_connections()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def dsn(self) -> str:
        """Return its DSN. Where a proxy is before it, ``port`` is the proxy's."""
        return f"{self._scheme}://key@127.0.0.1:{self.port}/1"

    @property
    def distinct(self) -> int:
        return len(self.accepted)

    @property
    def duplicates(self) -> int:
        return sum(list(self.accepted.values())) - len(self.accepted)

    def take(self, body: bytes) -> Answer:
        """Choose the answer to a request and record it. The server's loop calls this."""
        at = body.find(_ID_MARK, 0, 512) + len(_ID_MARK)
        event_id = body[at : at + _ID_LENGTH]
        attempt = self._attempts[event_id] = self._attempts.get(event_id, 0) + 1
        answer = self.script(Request(event_id, attempt, body))
        if answer.accepts:
            self.accepted[event_id] = self.accepted.get(event_id, 0) + 1
            self.ambiguous += answer.is_ambiguous
        self.failed += answer is not ACCEPT
        return answer


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, owner: Receiver) -> None:
        self._owner = owner
        self._buffer = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._owner._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._owner._connections.discard(self)
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(_HEAD_END)) >= 0:
            head = bytes(self._buffer[:end]).lower()
            length = int(head.partition(_LENGTH)[2].partition(b"\r")[0])
            start = end + len(_HEAD_END)
            if len(self._buffer) < start + length:
                return
            body = bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            self._answer(self._owner.take(body))

    def _answer(self, answer: Answer) -> None:
        if answer.bytes_per_s:
            task = self._owner._loop.create_task(self._trickle(answer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        if answer.data:
            self.transport.write(answer.data)
        if answer.then is Then.CLOSE:
            self.transport.close()
        elif answer.then is Then.RESET:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    async def _trickle(self, answer: Answer) -> None:
        started = time.monotonic()
        written = 0
        while written < len(answer.data):
            await asyncio.sleep(_PACE_INTERVAL_S)
            due = int((time.monotonic() - started) * answer.bytes_per_s)
            self.transport.write(answer.data[written:due])
            written = max(written, min(due, len(answer.data)))
