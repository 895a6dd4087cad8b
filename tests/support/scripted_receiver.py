"""An HTTP/1.1 server that records its requests and answers as the test scripts it."""

from __future__ import annotations

import importlib
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from consumer_fleet.capture.envelope import Envelope, parse

_MARK = re.compile(rb'"consumer_fleet/[0-9a-f]{16}":true,?')


def _do_nothing() -> None:
    """Nothing waits for an answer to be sent."""


@dataclass(frozen=True)
class Reply:
    """One answer. ``hang_up`` closes the connection instead of answering.

    ``on_sent`` is called once it is on its way: what is sent after that arrives later.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    delay_s: float = 0.0
    hang_up: bool = False
    close: bool = False  # answer, then close the connection
    on_sent: Callable[[], object] = _do_nothing


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it arrived. ``body`` is decoded, ``raw_body`` is not."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    raw_body: bytes
    body: bytes
    reply: Reply
    connection: int
    received_at_s: float  # time.monotonic

    @property
    def envelope(self) -> Envelope:
        """The envelope without what the destination put into its header."""
        found = parse(self.body)
        return found._replace(header=_MARK.sub(b"", found.header))


class ScriptedReceiver:
    """Use it as a context manager. All attributes may be read while it runs.

    ``keep_bodies=False`` is for bodies that together are larger than memory: only the script gets
    them.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        host: str = "127.0.0.1",
        keep_bodies: bool = True,
    ) -> None:
        self._host = host
        self._keep_bodies = keep_bodies
        self._respond: Callable[[ReceivedRequest], Reply] = lambda _request: Reply()
        self._tls = tls
        self._changed = threading.Condition()
        self._requests: list[ReceivedRequest] = []
        self._stopping = threading.Event()
        receiver = self

        class Handler(_Handler):
            owner = receiver

        self._server = _Server((host, 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join(5)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def dsn(self, project: int = 1, key: str = "key") -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{key}@{self._host}:{self.port}/{project}"

    def respond(self, script: Callable[[ReceivedRequest], Reply] | Reply | int) -> None:
        """Set the answer from now on: a function of the request, a reply, or a status."""
        if callable(script):
            self._respond = script
        else:
            reply = Reply(script) if isinstance(script, int) else script
            self._respond = lambda _request: reply

    def respond_in_turn(self, *replies: Reply | int) -> None:
        """Give each reply once, in the order of the requests; then repeat the last one."""
        queue = [Reply(reply) if isinstance(reply, int) else reply for reply in replies]
        lock = threading.Lock()

        def script(_request: ReceivedRequest) -> Reply:
            with lock:
                return queue.pop(0) if len(queue) > 1 else queue[0]

        self._respond = script

    def has_left(self, request: ReceivedRequest) -> bool:
        """Whether the sender of a request that was not answered yet has closed its connection."""
        return not self._server.is_connected(request.connection)

    @property
    def requests(self) -> list[ReceivedRequest]:
        """All requests, including refused ones."""
        with self._changed:
            return list(self._requests)

    @property
    def envelopes(self) -> list[Envelope]:
        """The envelopes of requests that were answered with a 2xx."""
        return [
            request.envelope
            for request in self.requests
            if 200 <= request.reply.status < 300 and not request.reply.hang_up
        ]

    def wait_until(self, predicate: Callable[[], bool], timeout: float = 60.0) -> None:
        """Wait until the predicate, evaluated after each request, holds. Fails on the timeout."""
        with self._changed:
            if not self._changed.wait_for(predicate, timeout):
                raise AssertionError(f"not within {timeout} s; {len(self._requests)} requests")

    def take(self, request: ReceivedRequest) -> Reply:
        """Record a request and choose its answer. The server's threads call this."""
        reply = self._respond(request)
        answered = replace(request, reply=reply)
        if not self._keep_bodies:
            answered = replace(answered, raw_body=b"", body=b"")
        with self._changed:
            self._requests.append(answered)
            self._changed.notify_all()
        if reply.delay_s:
            self._stopping.wait(reply.delay_s)
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect: they are part of the tests."""

    def is_connected(self, port: int) -> bool:
        for connection in list(self._connections):
            try:
                if connection.getpeername()[1] == port:
                    return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
            except BlockingIOError:
                return True
            except OSError:
                continue  # it was reset
        return False

    def close_connections(self) -> None:
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it was closed already


class _Handler(BaseHTTPRequestHandler):
    owner: ScriptedReceiver
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        raw_body = self.rfile.read(length)
        if len(raw_body) < length:  # its sender was killed: no server takes that
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = ReceivedRequest(
            path=self.path,
            headers=headers,
            raw_body=raw_body,
            body=decode_body(raw_body, headers.get("content-encoding", "")),
            reply=Reply(),
            connection=self.client_address[1],
            received_at_s=time.monotonic(),
        )
        reply = self.owner.take(request)
        if reply.hang_up:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()
        reply.on_sent()

    do_GET = do_POST  # noqa: N815 - http.server finds methods by this name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print no access log into the test's output."""


def decode_body(body: bytes, encoding: str) -> bytes:
    """Undo a Content-Encoding."""
    if encoding in ("", "identity"):
        return body
    if encoding == "gzip":
        return zlib.decompress(body, wbits=31)
    if encoding == "deflate":
        return zlib.decompress(body)
    if encoding == "br":
        return bytes(importlib.import_module("brotli").decompress(body))
    if encoding == "zstd":
        zstandard = importlib.import_module("zstandard")
        return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(body))
    raise ValueError(f"unknown content encoding {encoding!r}")
