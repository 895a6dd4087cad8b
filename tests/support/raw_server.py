"""A TCP server whose connections a test serves byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class RawConnection:
    """One accepted connection. Its methods raise ConnectionError once the client is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffered = bytearray()

    def read_request(self) -> tuple[bytes, bytes]:
        """The head and the body of the next request. Raises ConnectionError at the end."""
        while (end := self._buffered.find(b"\r\n\r\n")) < 0:
            self._buffered += self._receive()
        head = bytes(self._buffered[: end + 4])
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        self.read_some(len(head) + length)
        body = bytes(self._buffered[len(head) : len(head) + length])
        del self._buffered[: len(head) + length]
        return head, body

    def read_some(self, at_least: int) -> None:
        """Read that many bytes of a request, and maybe some more."""
        while len(self._buffered) < at_least:
            self._buffered += self._receive()

    def _receive(self) -> bytes:
        data = self.sock.recv(64 * 1024)
        if not data:
            raise ConnectionError
        return data

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait_for_close(self) -> None:
        """Wait until the client has closed the connection."""
        with contextlib.suppress(OSError):
            while self.sock.recv(64 * 1024):
                pass

    def reset(self) -> None:
        """Close with RST."""
        raw = self.sock
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.close()


class RawServer:
    """Serves each connection by ``serve`` in a thread of its own, then closes it."""

    def __init__(
        self,
        serve: Callable[[RawConnection, int], None],
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=128)
        self._serve = serve
        self._tls = tls
        self._host = f"[{host}]" if ":" in host else host
        self._open: set[socket.socket] = set()
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def dsn(self, host: str | None = None) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://key@{host or self._host}:{self.port}/1"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number = self.connections
            self.connections += 1
            threading.Thread(target=self._run, args=(sock, number), daemon=True).start()

    def _run(self, sock: socket.socket, number: int) -> None:
        self._open.add(sock)
        with contextlib.suppress(OSError):
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self._open.add(sock)
            self._serve(RawConnection(sock), number)
        self._open.discard(sock)
        sock.close()
