"""Serves the fleet view: its page, its JSON, and its server-sent events."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Self

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from consumer_fleet.inspector.api import as_json
from consumer_fleet.inspector.fleet import BUCKET_S, SERIES, FleetBoard, Published
from consumer_fleet.inspector.security import TOKEN_VARIABLE, Access, Guard
from consumer_fleet.inspector.server import BUNDLE, Assets, ServerThread, failed, refused

_LOOK_INTERVAL_S: Final = 0.2
_STREAMS: Final = 50
_NOT_BUILT: Final = "The fleet view's page is not built. In a checkout, make setup builds it.\n"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class FleetApi:
    """The routes of one board. ``has_events``: the same server also shows events."""

    def __init__(self, board: FleetBoard, *, has_events: bool, folder: Path = BUNDLE) -> None:
        self._board = board
        self._has_events = has_events
        page = folder / "fleet.html"
        self._page = page.read_bytes() if page.is_file() else None
        self._followers = 0
        self._closed = False

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/fleet", self.page),
            Route("/api/fleet", self.get),
            Route("/api/fleet/stream", self.stream),
        ]

    def close(self) -> None:
        """End all streams. May be called from any thread."""
        self._closed = True

    async def page(self, _request: Request) -> Response:
        return HTMLResponse(_NOT_BUILT if self._page is None else self._page)

    async def get(self, _request: Request) -> Response:
        latest = self._board.latest
        return as_json({**self._facts(), "view": None if latest is None else latest.view})

    async def stream(self, _request: Request) -> Response:
        """First ``history``, then ``view`` for each view."""
        if self._followers >= _STREAMS:
            raise HTTPException(503, f"too many open pages: the limit is {_STREAMS}")
        return StreamingResponse(self._events(), headers=_HEADERS, media_type="text/event-stream")

    def _facts(self) -> dict[str, object]:
        return {"series": SERIES, "bucket_s": BUCKET_S, "has_events": self._has_events}

    async def _events(self) -> AsyncIterator[bytes]:
        self._followers += 1
        try:
            yield _event("history", {**self._facts(), "samples": self._board.history()})
            sent = 0
            while not self._closed:
                latest = self._board.latest
                if latest is not None and latest.number != sent:
                    sent = latest.number
                    yield _view_event(latest)
                await asyncio.sleep(_LOOK_INTERVAL_S)
        finally:
            self._followers -= 1


def _view_event(latest: Published) -> bytes:
    return _event("view", {"view": latest.view, "sample": latest.sample})


def _event(name: str, data: object) -> bytes:
    # orjson writes no line breaks: one data line is enough.
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))


class FleetServer:
    """The fleet view alone, at ``HOST:PORT``; a context manager. Port 0 means any free port.

    Raises ConfigurationError for an address other than loopback without a token in the
    environment, or one that can't be listened on.
    """

    def __init__(self, board: FleetBoard, address: str, folder: Path = BUNDLE) -> None:
        host, _, port = address.rpartition(":")
        token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
        self._access = Access(host.removeprefix("[").removesuffix("]"), token, names_option=None)
        self._api = FleetApi(board, has_events=False, folder=folder)
        self._folder = folder
        self._server = ServerThread(self._access.host, int(port), "page")

    @property
    def url(self) -> str:
        """The address of the page, without the token."""
        return f"http://{self._access.url_host}:{self._server.port}/"

    def start(self) -> None:
        """Block until connections are accepted."""
        app = Starlette(
            routes=[
                Route("/", _to_page),
                Route("/assets/{path:path}", Assets(self._folder).get),
                *self._api.routes,
            ],
            exception_handlers={HTTPException: refused, Exception: failed},
        )
        app.router.redirect_slashes = False
        self._server.start(Guard(app, app, access=self._access, port=self._server.port))

    def stop(self) -> None:
        """Finish current requests, for a few seconds at most, and close."""
        self._api.close()
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


async def _to_page(_request: Request) -> Response:
    return RedirectResponse("/fleet", 303)
