"""A uvicorn server in a thread of its own, beside whatever this process does."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from fleet.errors import ServiceError

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
# How long a client may leave unread what was sent to it before the kernel ends its connection.
_UNREAD_TIMEOUT_S = 30.0


class ServerThread:
    """Bound from its construction, so that its port is known; serves from ``start``.

    Raises ServiceError where the address can't be had. ``port`` 0 takes a free one.
    """

    def __init__(self, host: str, port: int) -> None:
        self._listener = _listen(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: ASGIApp) -> None:
        """Block until connections are accepted. Raises ServiceError where that fails."""
        server = _Server(_uvicorn_config(app))
        thread = threading.Thread(
            target=server.run, args=([self._listener],), name="receiver", daemon=True
        )
        thread.start()
        if not server.accepting.wait(_START_TIMEOUT_S):
            server.should_exit = True
            raise ServiceError("inspector", f"did not start within {_START_TIMEOUT_S:g} s")
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Finish the requests under way, for a few seconds at most, and close."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_STOP_TIMEOUT_S)
            self._server = self._thread = None
        self._listener.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With the protocol named, asyncio sets TCP_NODELAY on what is accepted. Without it each
        # answer, whose head and body are two writes, waits 40 ms for the client's delayed ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise _no_address(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it
            milliseconds = int(_UNREAD_TIMEOUT_S * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _no_address(host, port, error) from error
    return listener


def _no_address(host: str, port: int, error: Exception) -> ServiceError:
    return ServiceError("inspector", f"can't listen on {host}:{port}: {error}")


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=5,  # like Relay, so that what delivers to it meets the same
        timeout_graceful_shutdown=2,
    )


class _Server(uvicorn.Server):
    """Says when it accepts connections: uvicorn itself only has a flag to look at."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()
