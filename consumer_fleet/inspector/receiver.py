"""A small Sentry-compatible server in this process: it accepts envelopes and shows the latest.

``consumer inspect`` runs it, and it is the upstream of the embedded demonstration and of tests. It
has one project with one key, which is random at each start.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.api import CoverageApi, EventsApi, LookupApi, TraceApi
from consumer_fleet.inspector.coverage import build_coverage
from consumer_fleet.inspector.coverage.service import CoverageSettings
from consumer_fleet.inspector.entry import EntrySource
from consumer_fleet.inspector.envelope_endpoint import EnvelopeEndpoint
from consumer_fleet.inspector.fleet import FleetBoard
from consumer_fleet.inspector.fleet_server import FleetApi
from consumer_fleet.inspector.lookup import EventLookup, build_lookup
from consumer_fleet.inspector.security import Access, Guard
from consumer_fleet.inspector.server import BUNDLE, Assets, Pages, ServerThread, failed, refused
from consumer_fleet.inspector.source import SourceApi, SourceRoot
from consumer_fleet.inspector.store import Store
from consumer_fleet.inspector.stream import Changes, StreamEndpoint

log = structlog.get_logger(__name__)

# Sentry's published limit of a decompressed envelope (https://develop.sentry.dev/sdk/envelopes/).
_PUBLISHED_LIMIT_BYTES = 200 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class View:
    """The page's parts besides the store. ``bundle`` is the folder of the built page.

    ``editor_link`` is a template with ``{path}`` and ``{line}``. Without ``lookup``, events are
    looked up in the store only. The caller closes its own lookup.
    """

    source: EntrySource = field(default_factory=EntrySource)
    bundle: Path = BUNDLE
    coverage: CoverageSettings = field(default_factory=CoverageSettings)
    lookup: EventLookup | None = None
    source_root: SourceRoot | None = None
    editor_link: str | None = None
    fleet: FleetBoard | None = None

    @property
    def features(self) -> dict[str, bool | str | None]:
        """The parts that are there, for the page."""
        return {
            "coverage": bool(self.coverage.reports or self.coverage.codecov),
            "source_root": self.source_root is not None,
            "editor_link": self.editor_link,
            "fleet": self.fleet is not None,
        }


class Receiver:
    """The server and its store; as a context manager it starts and stops. Deliver to ``dsn``.

    The caller closes its own store; without one, the receiver opens and closes one in memory.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        project: str = "1",
        limit_bytes: int = _PUBLISHED_LIMIT_BYTES,
        access: Access | None = None,
        view: View | None = None,
    ) -> None:
        self._owns_store = store is None
        self.store = Store() if store is None else store
        self._project = project
        self._key = secrets.token_hex(16)
        self._endpoint = EnvelopeEndpoint(
            self.store,
            project=project,
            key=self._key,
            # Refuse what can't be stored, so that the sender knows.
            limit_bytes=min(limit_bytes, self.store.max_bytes),
        )
        self._access = access or Access()
        self._view = view or View()
        self._changes = Changes(self.store)
        self._coverage = build_coverage(self._view.coverage)
        self._coverage_api = CoverageApi(self._coverage)
        self._lookup = self._view.lookup or build_lookup(store=self.store)
        self._lookup_api = LookupApi(self.store, self._lookup)
        board = self._view.fleet
        self._fleet = None if board is None else FleetApi(board, has_events=True)
        self._server: ServerThread | None = None

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{self._host}:{self._running.port}/"

    @property
    def dsn(self) -> Dsn:
        return Dsn.parse(f"http://{self._key}@{self._host}:{self._running.port}/{self._project}")

    def start(self, port: int = 0) -> None:
        """Block until connections are accepted. ``port`` 0 means any free port.

        Raises ServiceError if the server can't listen.
        """
        self._server = ServerThread(self._access.host, port)
        try:
            self._server.start(self._app())
        except BaseException:
            self._server.stop()
            raise

    def stop(self) -> None:
        """Finish current requests, for a few seconds at most, and close."""
        # First the streams, which never finish, and calls that may take longer than the timeout.
        self._changes.close()
        if self._fleet is not None:
            self._fleet.close()
        self._coverage_api.close()
        self._lookup_api.close()
        if self._server is not None:
            self._server.stop()
        self._coverage.close()
        if self._view.lookup is None:
            self._lookup.close()
        if self._owns_store:
            self.store.close()

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _running(self) -> ServerThread:
        if self._server is None:
            raise RuntimeError("the receiver has no address: call start() first")
        return self._server

    @property
    def _host(self) -> str:
        """The host for URLs."""
        return self._access.url_host

    def _app(self) -> ASGIApp:
        pages = Pages(self.store, self._view.bundle)
        api = EventsApi(
            self.store,
            self._view.source,
            dsn=str(self.dsn) if self._access.is_loopback else None,
            features=self._view.features,
        )
        traces = TraceApi(self.store)
        pages_app = Starlette(
            routes=[
                Route("/", pages.index),
                Route("/plain.css", pages.plain_style),
                Route("/assets/{path:path}", Assets(self._view.bundle).get),
                Route("/api/status", api.status),
                Route("/api/events", api.events),
                Route("/api/events", api.clear, methods=["DELETE"]),
                Route("/api/choices", api.choices),
                Route("/api/traces/{trace_id}", traces.trace),
                Route("/api/events/{id}", api.event),
                Route("/api/events/{id}/trace", traces.of_entry),
                Route("/api/events/{id}/items/{index}", api.item),
                Route("/api/events/{id}/raw", api.raw),
                Route("/api/lookup/{event_id}", self._lookup_api.get),
                Route("/api/coverage", self._coverage_api.get),
                Route("/api/source", SourceApi(self._view.source_root).get),
                Route("/api/stream", StreamEndpoint(self._changes).get),
                *([] if self._fleet is None else self._fleet.routes),
            ],
            exception_handlers={
                HTTPException: refused,
                ConfigurationError: _unreadable,
                Exception: failed,
            },
        )
        pages_app.router.redirect_slashes = False
        return Guard(pages_app, self._endpoint, access=self._access, port=self._running.port)


async def _unreadable(_request: Request, error: Exception) -> Response:
    log.error("inspector_store_failed", error=str(error))
    return JSONResponse({"detail": "the store can't be read"}, 503)
