"""The JSON API of the page and of users' own tools. docs/inspector.md documents it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from consumer_fleet.capture.envelope import Envelope, normalize_event_id, parse
from consumer_fleet.capture.items import HAS_EVENT
from consumer_fleet.errors import FleetError, RejectedMessage
from consumer_fleet.inspector.coverage.service import CoverageQuery, CoverageService
from consumer_fleet.inspector.description import event_index
from consumer_fleet.inspector.entry import EXACT, EntrySource, Filter, NewEntry, Summary
from consumer_fleet.inspector.images import image_type
from consumer_fleet.inspector.lookup import EventLookup, Found
from consumer_fleet.inspector.server import Threads
from consumer_fleet.inspector.services import CallTimings, ambient_request
from consumer_fleet.inspector.store import Content, Store
from consumer_fleet.inspector.traces import join_trace

_DEFAULT_LIMIT: Final = 100
_LARGEST_LIMIT: Final = 1000
_QUERY_CHARS: Final = 200
_PREVIEW_BYTES: Final = 256
_OCTETS: Final = "application/octet-stream"
_SLICE_BYTES: Final = 256 * 1024
_TRACE_ENTRIES: Final = 1000
_OPENED: Final = 1  # at a time: an envelope may be large, and is in memory twice while it is opened


class EventsApi:
    """Serves the stored entries. ``dsn`` is shown on the page; None hides it.

    ``features`` tell the page what else the server offers.
    """

    def __init__(
        self, store: Store, source: EntrySource, *, dsn: str | None, features: Mapping[str, Any]
    ) -> None:
        self._store = store
        self._source = source
        self._dsn = dsn
        self._features = features
        self._threads = Threads(_OPENED)

    async def status(self, _request: Request) -> Response:
        return as_json(
            {
                "version": _version(),
                "store": self._store.instance,
                "source": self._source,
                "counts": self._store.counts()._asdict(),
                **self._features,
                "dsn": self._dsn,
            }
        )

    async def events(self, request: Request) -> Response:
        parameters = request.query_params
        dead, grouped = _flag(request, "dead"), _flag(request, "grouped")
        filter_ = Filter(
            text=parameters.get("q", "")[:_QUERY_CHARS],
            dead=dead,
            **{name: parameters.get(name) or None for name in ("type", *EXACT)},
        )
        before = parameters.get("before")
        page = self._store.page(
            filter_,
            before=None if before is None else whole_number("before", before),
            limit=min(
                whole_number("limit", parameters.get("limit", _DEFAULT_LIMIT)), _LARGEST_LIMIT
            ),
            grouped=grouped is True,
        )
        repeats = {str(entry_id): count for entry_id, count in page.repeats.items()}
        return as_json({"store": self._store.instance, **page._asdict(), "repeats": repeats})

    async def choices(self, _request: Request) -> Response:
        return as_json(self._store.choices())

    async def clear(self, _request: Request) -> Response:
        self._store.clear()
        return as_json({"store": self._store.instance})

    async def event(self, request: Request) -> Response:
        return await self._threads.run(lambda: self._event(request))

    async def item(self, request: Request) -> Response:
        return await self._threads.run(lambda: self._item(request))

    async def raw(self, request: Request) -> Response:
        return await self._threads.run(lambda: self._raw(request))

    def _event(self, request: Request) -> Response:
        summary, content = self._entry(request)
        envelope = _envelope(content)
        return as_json(
            {
                "summary": summary,
                "same_issue": self._same_issue(summary),
                "traces": self._store.traces_of(summary.id),
                "header": {} if envelope is None else shown_header(content.raw),
                "items": [] if envelope is None else _items(envelope),
                "event": None if envelope is None else event_index(envelope.items),
                "undecodable": None
                if content.undecodable is None
                else {
                    "error": content.undecodable,
                    "hex_preview": content.raw[:_PREVIEW_BYTES].hex(" "),
                },
            }
        )

    def _same_issue(self, summary: Summary) -> int:
        """How many entries there are of the same issue, this one included."""
        if summary.issue is None:
            return 0
        return self._store.page(Filter(issue=summary.issue), limit=1).total

    def _item(self, request: Request) -> Response:
        summary, content = self._entry(request)
        envelope = _envelope(content)
        index = _number_in_path(request, "index")
        if envelope is None or index >= len(envelope.items):
            raise HTTPException(404, "the entry has no item of that index")
        item = envelope.items[index]
        if item.type in HAS_EVENT:
            return _bytes([item.payload], "application/json", {})
        media_type = image_type(item.payload) if item.type == "attachment" else None
        name = f"entry-{summary.id}-item-{index}.bin"
        return _download(name, item.payload, media_type=media_type or _OCTETS)

    def _raw(self, request: Request) -> Response:
        summary, content = self._entry(request)
        if content.undecodable is not None:
            return _download(f"entry-{summary.id}.bin", content.raw)
        header = orjson.dumps(shown_header(content.raw))
        end = content.raw.find(b"\n")
        rest = memoryview(content.raw)[end:] if end >= 0 else b""
        return _download(f"entry-{summary.id}.envelope", header, rest)

    def _entry(self, request: Request) -> tuple[Summary, Content]:
        entry_id = _number_in_path(request, "id")
        if request.query_params.get("store", self._store.instance) != self._store.instance:
            raise HTTPException(
                404, "no longer stored: the entry was deleted, or is from an earlier run"
            )
        summary, content = self._store.get(entry_id), self._store.content(entry_id)
        if summary is None or content is None:
            was_stored = 0 < entry_id <= self._store.newest_id()
            reason = "no longer stored: the entry was evicted" if was_stored else "entry not found"
            raise HTTPException(404, reason)
        return summary, content


def as_json(value: object) -> Response:
    """A JSON response; dataclasses become objects."""
    return Response(orjson.dumps(value), media_type="application/json")


def whole_number(name: str, value: str | int) -> int:
    """Parse a parameter above 0. Raises HTTPException (400)."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0):
        raise HTTPException(400, f"{name} must be a whole number above 0")
    return int(text)


def _flag(request: Request, name: str) -> bool | None:
    """A parameter that is 0 or 1; None if it is missing. Raises HTTPException (400)."""
    value = request.query_params.get(name)
    if value not in (None, "0", "1"):
        raise HTTPException(400, f"{name} must be 0 or 1")
    return None if value is None else value == "1"


def _number_in_path(request: Request, name: str) -> int:
    """Parse a number in the path. Raises HTTPException (404) for anything else."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise HTTPException(404, f"not a valid {name}")
    return int(text)


def shown_header(raw: bytes) -> dict[str, Any]:
    """An envelope's header without keys: the DSN, and the public key of a trace."""
    end = raw.find(b"\n")
    header: dict[str, Any] = orjson.loads(raw if end < 0 else raw[:end])
    header.pop("dsn", None)
    trace = header.get("trace")
    if isinstance(trace, dict):
        header["trace"] = {name: trace[name] for name in trace if name != "public_key"}
    return header


def _envelope(content: Content) -> Envelope | None:
    if content.undecodable is not None:
        return None
    try:
        return parse(content.raw)
    except RejectedMessage as error:  # impossible: it was parsed before it was stored
        raise HTTPException(500, "the stored envelope is damaged") from error


def _items(envelope: Envelope) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "type": item.type,
            "size_bytes": len(item.payload),
            "header": orjson.loads(item.header),
        }
        for index, item in enumerate(envelope.items)
    ]


def _download(name: str, *parts: bytes | memoryview, media_type: str = _OCTETS) -> Response:
    # A name from the envelope could be anything: use our own.
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return _bytes(parts, media_type, headers)


def _bytes(
    parts: Sequence[bytes | memoryview], media_type: str, headers: Mapping[str, str]
) -> Response:
    """Send in slices, as fast as the client reads: the server would copy unsent data."""
    length = str(sum(map(len, parts)))
    return StreamingResponse(
        _slices(parts), media_type=media_type, headers={**headers, "Content-Length": length}
    )


async def _slices(parts: Sequence[bytes | memoryview]) -> AsyncIterator[bytes]:
    for part in parts:
        for start in range(0, len(part), _SLICE_BYTES):
            yield bytes(part[start : start + _SLICE_BYTES])


def _version() -> str:
    try:
        return version("consumer-fleet")
    except PackageNotFoundError:  # run from a checkout without installing
        return "0"


class TraceApi:
    """Serves the spans, errors and logs of a trace, or the spans of an entry."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads = Threads(_OPENED)

    async def trace(self, request: Request) -> Response:
        trace_id = normalize_event_id(request.path_params["trace_id"])
        if trace_id is None:
            raise HTTPException(400, "not a valid trace id: expected 32 hexadecimal digits")
        return await self._threads.run(
            lambda: self._joined(self._store.of_trace(trace_id, _TRACE_ENTRIES), trace_id)
        )

    async def of_entry(self, request: Request) -> Response:
        """The spans of one entry: it may have no trace id, or be too large to be indexed."""
        summary = self._store.get(_number_in_path(request, "id"))
        entries = [] if summary is None else [summary]
        return await self._threads.run(lambda: self._joined(entries, None))

    def _joined(self, entries: Sequence[Summary], trace_id: str | None) -> Response:
        # Newest first: of several deliveries of one event, the newest counts.
        trace = join_trace(self._opened(reversed(entries)), trace_id)
        used = {span.entry for span in trace.spans} | {mark.entry for mark in trace.marks}
        about = {
            str(entry.id): {"event_id": entry.event_id, "project": entry.project}
            for entry in entries
            if entry.id in used
        }
        is_complete = len(entries) < _TRACE_ENTRIES
        return as_json(
            {
                "store": self._store.instance,
                "trace_id": trace_id,
                "entries": about,
                "is_complete": is_complete,
                **{name: getattr(trace, name) for name in trace.__slots__},
            }
        )

    def _opened(self, entries: Iterable[Summary]) -> Iterator[tuple[Summary, Envelope]]:
        for summary in entries:
            content = self._store.content(summary.id)
            envelope = None if content is None else _envelope(content)
            if envelope is not None:
                yield summary, envelope


_TEXT_CHARS: Final = 4096
# Most calls wait for Codecov, for some seconds at most. This many leave threads for answers that
# local reports or the cache give at once.
_COVERAGE_CALLS: Final = 64
_LOOKUPS: Final = 4


class CoverageApi:
    """Serves coverage. Each request has its own context; the service may block, so in a thread."""

    def __init__(self, service: CoverageService) -> None:
        self._service = service
        self._threads = Threads(_COVERAGE_CALLS)

    def close(self) -> None:
        """End all waiting requests. May be called from any thread."""
        self._threads.close()

    async def get(self, request: Request) -> Response:
        query = coverage_query(request)
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


def coverage_query(request: Request) -> CoverageQuery:
    given = {
        name: request.query_params.get(name) or None
        for name in ("file", "commit", "sdk_name", "abs_path", "module", "package", "branch")
    }
    for name, value in given.items():
        if value is not None and len(value) > _TEXT_CHARS:
            raise HTTPException(400, f"{name} must not be longer than {_TEXT_CHARS} characters")
    file = given.pop("file")
    if file is None:
        raise HTTPException(400, "file is missing")
    return CoverageQuery(file, **given)


class LookupApi:
    """Looks up events; stores what it finds in a topic or recording, for the page to show."""

    def __init__(self, store: Store, lookup: EventLookup) -> None:
        self._store = store
        self._lookup = lookup
        self._threads = Threads(_LOOKUPS)
        self._adding = threading.Lock()

    def close(self) -> None:
        """End all waiting requests. May be called from any thread."""
        self._threads.close()

    async def get(self, request: Request) -> Response:
        event_id = normalize_event_id(request.path_params["event_id"])
        if event_id is None:
            raise HTTPException(400, "not a valid event id: expected 32 hexadecimal digits")
        try:
            # Stored events are not queued behind searches.
            entry_id = self._stored(event_id)
            if entry_id is None:
                entry_id = await self._threads.run(lambda: self._find(event_id))
        except FleetError as error:
            raise HTTPException(502, str(error)) from error
        if entry_id is None:
            raise HTTPException(404, "event not found")
        return as_json({"id": entry_id})

    def _find(self, event_id: str) -> int | None:
        found = self._lookup.find(event_id)
        if found is None:
            return None
        return found.entry_id if found.entry_id is not None else self._add(found, event_id)

    def _add(self, found: Found, event_id: str) -> int | None:
        origin = found.origin
        at_ms = None if origin is None else origin.timestamp_ms
        received_at = time.time() if at_ms is None else at_ms / 1000
        with self._adding:  # several requests may have searched for it at once
            if self._stored(event_id) is None:
                self._store.add(NewEntry(found.raw, parse(found.raw), received_at, origin=origin))
            return self._stored(event_id)

    def _stored(self, event_id: str) -> int | None:
        found = self._store.find(event_id)
        return found[-1].id if found else None
