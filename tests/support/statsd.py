"""A DogStatsD server for tests: a UDP socket on loopback that keeps what it receives."""

from __future__ import annotations

import socket


class StatsdServer:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []

    def __enter__(self) -> StatsdServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def receive_rest(self) -> list[str]:
        """Return all lines so far: on loopback, a sent UDP packet has arrived."""
        while self._read():
            pass
        return self.lines

    def _read(self) -> bool:
        try:
            packet = self._socket.recv(65536)
        except BlockingIOError:
            return False
        self.lines.extend(line for line in packet.decode().split("\n") if line)
        return True
