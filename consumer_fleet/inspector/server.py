"""A uvicorn server in a separate thread, its static pages, and its pools of threads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final, TypeVar

import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from consumer_fleet.errors import ServiceError
from consumer_fleet.inspector.entry import Summary
from consumer_fleet.inspector.store import Counts, Store

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
# The kernel closes a connection whose client has not read sent data for this long.
_UNREAD_TIMEOUT_S = 30.0


class ServerThread:
    """Binds its port when constructed and serves after ``start``. ``port`` 0 means any free port.

    Raises ServiceError if it can't listen on the address.
    """

    def __init__(self, host: str, port: int, service: str = "inspector") -> None:
        self._service = service
        self._listener = _listen(host, port, service)
        self.port: int = self._listener.getsockname()[1]
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: ASGIApp) -> None:
        """Block until connections are accepted. Raises ServiceError after a timeout."""
        server = _Server(_uvicorn_config(app))
        thread = threading.Thread(
            target=server.run, args=([self._listener],), name="receiver", daemon=True
        )
        thread.start()
        if not server.accepting.wait(_START_TIMEOUT_S):
            server.should_exit = True
            raise ServiceError(self._service, f"did not start within {_START_TIMEOUT_S:g} s")
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Finish current requests, for a few seconds at most, and close."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_STOP_TIMEOUT_S)
            self._server = self._thread = None
        self._listener.close()


def _listen(host: str, port: int, service: str) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With an explicit protocol, asyncio sets TCP_NODELAY on accepted connections. Without it,
        # each response (two writes: head, body) waits 40 ms for the client's delayed ACK.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise _no_address(service, host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux has it
            milliseconds = int(_UNREAD_TIMEOUT_S * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _no_address(service, host, port, error) from error
    return listener


def _no_address(service: str, host: str, port: int, error: Exception) -> ServiceError:
    return ServiceError(service, f"can't listen on {host}:{port}: {error}")


def _uvicorn_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=5,  # like Relay, so that clients see the same behaviour
        timeout_graceful_shutdown=2,
    )


class _Server(uvicorn.Server):
    """Has an event for the end of its startup: uvicorn itself only has a flag to poll."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()


STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem }
td, th { padding: 0 1.5rem 0 0; text-align: left; vertical-align: top }
td:last-child, th:last-child { text-align: right }
"""
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5">
<title>Inspector</title>
<link rel="stylesheet" href="/plain.css">
<h1>Received envelopes</h1>
"""
_HINT = """<p>This is the plain page: the full page is not built.
In a checkout, <code>make setup</code> builds it.</p>
"""
_COLUMNS = "<tr><th>Received (UTC)<th>Event<th>Type<th>Title<th>Items<th>Bytes</tr>"


def render_page(counts: Counts, latest: Iterable[Summary]) -> str:
    rows = "".join(
        f"<tr><td>{_time(entry.received_at)}</td>"
        f"<td><code>{escape(entry.event_id or '-')}</code></td>"
        f"<td>{escape(entry.type)}</td>"
        f"<td><bdi>{escape(entry.title)}</bdi></td>"
        f"<td>{escape(', '.join(entry.item_types) or '-')}</td>"
        f"<td>{entry.size_bytes:,}</td></tr>\n"
        for entry in latest
    )
    return (
        f"{_HEAD}{_HINT}<p>{counts.accepted:,} received; {counts.kept:,} stored.</p>\n"
        f"<table><thead>{_COLUMNS}</thead><tbody>\n{rows}</tbody></table>\n</html>\n"
    )


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # a producer can set any timestamp
        return "-"


BUNDLE: Final = Path(__file__).parent / "bundle"
_LISTED: Final = 100
# Our own list: the system's may be wrong, and browsers run scripts of the right type only.
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}


class Assets:
    """Serves files read at the start; a request looks them up by name, never by path."""

    def __init__(self, folder: Path = BUNDLE) -> None:
        assets = folder / "assets"
        self._files = {
            path.relative_to(assets).as_posix(): (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(assets.rglob("*"))
            if path.suffix in _TYPES and path.is_file()
        }

    async def get(self, request: Request) -> Response:
        found = self._files.get(request.path_params["path"])
        if found is None:
            raise HTTPException(404, "file not found")
        content, media_type = found
        # The file names contain a hash of the content.
        caching = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(content, headers=caching, media_type=media_type)


class Pages:
    """Serves the inspector's page, or a plain one where it is not built."""

    def __init__(self, store: Store, folder: Path = BUNDLE) -> None:
        self._store = store
        index = folder / "index.html"
        self._index = index.read_bytes() if index.is_file() else None

    async def index(self, _request: Request) -> Response:
        if self._index is not None:
            return HTMLResponse(self._index)
        return HTMLResponse(render_page(self._store.counts(), self._store.latest(_LISTED)))

    async def plain_style(self, _request: Request) -> Response:
        return Response(STYLE, media_type="text/css")


async def refused(_request: Request, error: Exception) -> Response:
    """A handler of HTTPException: the errors of an API are JSON."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def failed(_request: Request, _error: Exception) -> Response:
    """A handler of all other exceptions."""
    return JSONResponse({"detail": "a bug in the inspector: its log has the traceback"}, 500)


_Result = TypeVar("_Result")


class Threads:
    """Limits concurrent calls of one kind; more calls wait and take no threads from other kinds."""

    def __init__(self, calls: int) -> None:
        self._limiter = CapacityLimiter(calls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[Any]] = set()
        self._closed = False

    async def run(self, function: Callable[[], _Result]) -> _Result:
        """Call ``function`` in the request's context. Raises HTTPException (503) once closed."""
        self._loop = asyncio.get_running_loop()
        call = asyncio.ensure_future(
            to_thread.run_sync(function, limiter=self._limiter, abandon_on_cancel=True)
        )
        self._waiting.add(call)
        if self._closed:
            call.cancel()
        try:
            return await call
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise HTTPException(503, "the inspector is stopping") from None
        finally:
            self._waiting.discard(call)

    def close(self) -> None:
        """Stop waiting for calls; running ones end by themselves. May be called from any thread."""
        self._closed = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop and all calls have ended
                self._loop.call_soon_threadsafe(self._cancel_waiting)

    def _cancel_waiting(self) -> None:
        for call in self._waiting:
            call.cancel()
