"""The JSON API: what the page shows, for anybody's own tools too. docs/inspector.md lists it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal, TypeAlias

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from consumer_fleet.capture.envelope import Envelope, normalize_event_id, parse
from consumer_fleet.capture.items import HAS_EVENT
from consumer_fleet.errors import FleetError, RejectedMessage
from consumer_fleet.inspector.coverage import CoverageQuery, CoverageService
from consumer_fleet.inspector.description import event_index
from consumer_fleet.inspector.entry import Filter, NewEntry, Summary
from consumer_fleet.inspector.lookup import EventLookup, Found
from consumer_fleet.inspector.server import Threads
from consumer_fleet.inspector.services import CallTimings, ambient_request
from consumer_fleet.inspector.store import Content, Store

SourceKind: TypeAlias = Literal["receiver", "topic", "dlq", "recording", "demo"]

_DEFAULT_LIMIT: Final = 100
_LARGEST_LIMIT: Final = 1000
_QUERY_CHARS: Final = 200
_PREVIEW_BYTES: Final = 256
_SLICE_BYTES: Final = 256 * 1024
_OPENED: Final = 1  # at a time: an envelope may be large, and is in memory twice then


@dataclass(slots=True)
class Source:
    """Where the entries come from. ``problem`` says why no more come, once that is so."""

    kind: SourceKind = "receiver"
    name: str = ""
    problem: str | None = None


class EventsApi:
    """Reads the store. ``dsn`` is shown to whoever may look; None where nobody is to see it."""

    def __init__(self, store: Store, source: Source, *, dsn: str | None, coverage: bool) -> None:
        self._store = store
        self._source = source
        self._dsn = dsn
        self._coverage = coverage
        self._threads = Threads(_OPENED)

    async def status(self, _request: Request) -> Response:
        return as_json(
            {
                "version": _version(),
                "store": self._store.instance,
                "source": self._source,
                "counts": self._store.counts()._asdict(),
                "coverage": self._coverage,
                "dsn": self._dsn,
            }
        )

    async def events(self, request: Request) -> Response:
        given = request.query_params
        dead = given.get("dead")
        if dead not in (None, "0", "1"):
            raise HTTPException(400, "dead is neither 0 nor 1")
        filter_ = Filter(
            text=given.get("q", "")[:_QUERY_CHARS],
            type=given.get("type") or None,
            level=given.get("level") or None,
            dead=None if dead is None else dead == "1",
        )
        before = given.get("before")
        page = self._store.page(
            filter_,
            before=None if before is None else whole_number("before", before),
            limit=min(whole_number("limit", given.get("limit", _DEFAULT_LIMIT)), _LARGEST_LIMIT),
        )
        return as_json({"store": self._store.instance, **page._asdict()})

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

    def _item(self, request: Request) -> Response:
        summary, content = self._entry(request)
        envelope = _envelope(content)
        index = _number_in_path(request, "index")
        if envelope is None or index >= len(envelope.items):
            raise HTTPException(404, "the entry has no such item")
        item = envelope.items[index]
        if item.type in HAS_EVENT:
            return _bytes([item.payload], "application/json", {})
        return _download(f"entry-{summary.id}-item-{index}.bin", item.payload)

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
        summary, content = self._store.get(entry_id), self._store.content(entry_id)
        if summary is None or content is None:
            raise HTTPException(404, "no such entry: it may have made room for newer ones")
        return summary, content


def as_json(value: object) -> Response:
    """Dataclasses become objects."""
    return Response(orjson.dumps(value), media_type="application/json")


def whole_number(name: str, value: str | int) -> int:
    """A parameter's value, from 1. Raises HTTPException (400)."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) > 0):
        raise HTTPException(400, f"{name} is not a whole number above 0")
    return int(text)


def _number_in_path(request: Request, name: str) -> int:
    """Raises HTTPException (404) for what is none, or of more digits than any id has."""
    text = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise HTTPException(404, f"no such {name}")
    return int(text)


def shown_header(raw: bytes) -> dict[str, Any]:
    """An envelope's header without its keys: the DSN, and the public key of a trace."""
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
    except RejectedMessage as error:  # it was parsed before it was stored
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


def _download(name: str, *parts: bytes | memoryview) -> Response:
    # The name is ours: one from the envelope could be anything.
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return _bytes(parts, "application/octet-stream", headers)


def _bytes(
    parts: Sequence[bytes | memoryview], media_type: str, headers: Mapping[str, str]
) -> Response:
    """Sent in slices, as fast as the client reads: the server would copy what it has not sent."""
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
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"


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
