"""A small Sentry-compatible server in this process: it accepts envelopes and shows the latest.

It stands in for an upstream in the embedded demonstration and in tests. It listens on loopback
only and takes one project with one key, both made up at its start.
"""

from __future__ import annotations

import hmac
import re
import secrets
import socket
import threading
import time
from types import TracebackType

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from fleet.capture.dsn import Dsn
from fleet.capture.envelope import parse
from fleet.errors import RejectedMessage, ServiceError
from inspector.page import render_page
from inspector.request_body import BodyRefused, decompress, too_large
from inspector.store import Store

_HOST = "127.0.0.1"
# The published limit of an envelope, decompressed (https://develop.sentry.dev/sdk/envelopes/).
_LIMIT_BYTES = 200 * 1024 * 1024
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 5.0
_LISTED = 100
_KEY = re.compile(r"(?:^|[\s,])sentry_key\s*=\s*([^\s,]+)")
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Receiver:
    """The server and its store. ``dsn`` is what to deliver to; a context manager starts and stops.

    The store is the caller's to close where it was given, else it goes with the receiver.
    """

    def __init__(
        self, store: Store | None = None, *, project: str = "1", limit_bytes: int = _LIMIT_BYTES
    ) -> None:
        self._owns_store = store is None
        self.store = Store() if store is None else store
        self._project = project
        self._key = secrets.token_hex(16)
        self._limit_bytes = limit_bytes
        self._port: int | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where a person may look at what was received."""
        return f"http://{_HOST}:{self._bound_port}/"

    @property
    def dsn(self) -> Dsn:
        return Dsn.parse(f"http://{self._key}@{_HOST}:{self._bound_port}/{self._project}")

    def start(self, port: int = 0) -> None:
        """Block until connections are accepted. Raises ServiceError where that fails.

        ``port`` 0 takes a free one.
        """
        # With the protocol named, asyncio sets TCP_NODELAY on what is accepted. Without it each
        # answer, whose head and body are two writes, waits 40 ms for the client's delayed ACK.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((_HOST, port))
        except OSError as error:
            listener.close()
            raise ServiceError("receiver", f"can't listen on {_HOST}:{port}: {error}") from error
        self._port = listener.getsockname()[1]
        server = _Server(self._uvicorn_config())
        thread = threading.Thread(
            target=server.run, args=([listener],), name="receiver", daemon=True
        )
        thread.start()
        if not server.accepting.wait(_START_TIMEOUT_S):
            server.should_exit = True
            raise ServiceError("receiver", f"did not start within {_START_TIMEOUT_S:g} s")
        self._server, self._thread = server, thread

    def stop(self) -> None:
        """Finish the requests under way, for a few seconds at most, and close."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_STOP_TIMEOUT_S)
            self._server = self._thread = None
        if self._owns_store:
            self.store.close()

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def _bound_port(self) -> int:
        if self._port is None:
            raise RuntimeError("the receiver has no address before start()")
        return self._port

    def _uvicorn_config(self) -> uvicorn.Config:
        app = Starlette(
            routes=[
                Route("/", self._page, methods=["GET"]),
                Route("/api/{project}/envelope/", self._envelope, methods=["POST"]),
            ],
            # Against DNS rebinding: a web page that points its own name at loopback is refused.
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[_HOST, "localhost"])],
        )
        app.router.redirect_slashes = False
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

    async def _page(self, _request: Request) -> Response:
        page = render_page(self.store.counts(), self.store.latest(_LISTED))
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    async def _envelope(self, request: Request) -> Response:
        try:
            project = self._authenticated_project(request)
            body = await self._body(request)
            raw = decompress(body, request.headers.get("content-encoding", ""), self._limit_bytes)
            envelope = parse(raw)
        except BodyRefused as error:
            return JSONResponse({"detail": error.detail}, error.status)
        except RejectedMessage as error:
            return JSONResponse({"detail": str(error)}, 400)
        self.store.add(
            raw,
            received_at=time.time(),
            project=project,
            event_id=envelope.event_id,
            item_types=[item.type for item in envelope.items],
        )
        # Relay leaves the id out where an envelope has none.
        return JSONResponse({} if envelope.event_id is None else {"id": envelope.event_id})

    def _authenticated_project(self, request: Request) -> str:
        keys = _KEY.findall(request.headers.get("x-sentry-auth", ""))
        keys += request.query_params.getlist("sentry_key")
        if len(keys) != 1:
            problem = "missing" if not keys else "given more than once"
            raise BodyRefused(401, f"the authorization (sentry_key) is {problem}")
        project: str = request.path_params["project"]
        if not hmac.compare_digest(keys[0].encode(), self._key.encode()):
            raise BodyRefused(403, "the key is not this project's")
        if project != self._project:
            raise BodyRefused(403, "the key belongs to another project")
        return project

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit_bytes:
                raise too_large(self._limit_bytes)
        return bytes(body)


class _Server(uvicorn.Server):
    """Says when it accepts connections: uvicorn itself only has a flag to look at."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()
