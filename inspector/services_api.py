"""The parts of the API that ask elsewhere: coverage of a frame's file, and events not kept here."""

from __future__ import annotations

import threading
import time
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fleet.capture.envelope import normalize_event_id, parse
from fleet.errors import FleetError
from fleet.services import CallTimings, ambient_request
from inspector.api import as_json
from inspector.coverage import CoverageQuery, CoverageService
from inspector.entry import NewEntry
from inspector.lookup import EventLookup, Found
from inspector.store import Store
from inspector.threads import Threads

_TEXT_CHARS: Final = 4096
# Most of them wait for Codecov, for some seconds at most. There are enough for what reports on this
# machine or earlier answers tell at once.
_COVERAGE_CALLS: Final = 64
_LOOKUPS: Final = 4


class CoverageApi:
    """Each request has a context of its own; the service, which may block, runs in a thread."""

    def __init__(self, service: CoverageService) -> None:
        self._service = service
        self._threads = Threads(_COVERAGE_CALLS)

    def close(self) -> None:
        """Answer all who wait, from whatever thread."""
        self._threads.close()

    async def get(self, request: Request) -> Response:
        query = _coverage_query(request)
        timings = CallTimings()
        with ambient_request(timings):
            coverage = await self._threads.run(lambda: self._service.coverage(query))
        return as_json(
            {
                "status": coverage.status,
                "lineCoverage": coverage.lines,
                "coverageUrl": coverage.url,
                "provider": coverage.provider,
                "reason": coverage.reason,
                "timings_ms": timings.took_ms,
            }
        )


def _coverage_query(request: Request) -> CoverageQuery:
    given = {
        name: request.query_params.get(name) or None
        for name in ("file", "commit", "sdk_name", "abs_path", "module", "package", "branch")
    }
    for name, value in given.items():
        if value is not None and len(value) > _TEXT_CHARS:
            raise HTTPException(400, f"{name} is longer than {_TEXT_CHARS} characters")
    file = given.pop("file")
    if file is None:
        raise HTTPException(400, "file is missing")
    return CoverageQuery(file, **given)


class LookupApi:
    """What is found elsewhere goes into the store, so that the page can show it."""

    def __init__(self, store: Store, lookup: EventLookup) -> None:
        self._store = store
        self._lookup = lookup
        self._threads = Threads(_LOOKUPS)
        self._keeping = threading.Lock()

    def close(self) -> None:
        """As above."""
        self._threads.close()

    async def get(self, request: Request) -> Response:
        event_id = normalize_event_id(request.path_params["event_id"])
        if event_id is None:
            raise HTTPException(400, "that is no event id: it has 32 hexadecimal digits")
        try:
            # What is here needs not wait for those who search elsewhere.
            entry_id = self._kept(event_id)
            if entry_id is None:
                entry_id = await self._threads.run(lambda: self._find(event_id))
        except FleetError as error:
            raise HTTPException(502, str(error)) from error
        if entry_id is None:
            raise HTTPException(404, "no such event")
        return as_json({"id": entry_id})

    def _find(self, event_id: str) -> int | None:
        found = self._lookup.find(event_id)
        if found is None:
            return None
        return found.entry_id if found.entry_id is not None else self._keep(found, event_id)

    def _keep(self, found: Found, event_id: str) -> int | None:
        origin = found.origin
        at_ms = None if origin is None else origin.timestamp_ms
        received_at = time.time() if at_ms is None else at_ms / 1000
        with self._keeping:  # several may have searched for it at once
            if self._kept(event_id) is None:
                self._store.add(NewEntry(found.raw, parse(found.raw), received_at, origin=origin))
            return self._kept(event_id)

    def _kept(self, event_id: str) -> int | None:
        kept = self._store.find(event_id)
        return kept[-1].id if kept else None
