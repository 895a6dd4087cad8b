"""The JSON API: what the page shows, for anybody's own tools too. docs/inspector.md lists it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal, TypeAlias

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fleet.capture.envelope import Envelope, parse
from fleet.errors import RejectedMessage
from inspector.description import EVENT_ITEMS, event_index
from inspector.entry import Summary
from inspector.filters import Filter
from inspector.store import Content, Store

SourceKind: TypeAlias = Literal["receiver", "topic", "dlq", "recording", "demo"]

_DEFAULT_LIMIT: Final = 100
_LARGEST_LIMIT: Final = 1000
_QUERY_CHARS: Final = 200
_PREVIEW_BYTES: Final = 256


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

    async def status(self, _request: Request) -> Response:
        return as_json(
            {
                "version": _version(),
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
        return as_json(page._asdict())

    async def event(self, request: Request) -> Response:
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

    async def item(self, request: Request) -> Response:
        summary, content = self._entry(request)
        envelope = _envelope(content)
        index = request.path_params["index"]
        if envelope is None or index >= len(envelope.items):
            raise HTTPException(404, "the entry has no such item")
        item = envelope.items[index]
        if item.type in EVENT_ITEMS:
            return Response(item.payload, media_type="application/json")
        return _download(item.payload, f"entry-{summary.id}-item-{index}.bin")

    async def raw(self, request: Request) -> Response:
        summary, content = self._entry(request)
        if content.undecodable is not None:
            return _download(content.raw, f"entry-{summary.id}.bin")
        header = orjson.dumps(shown_header(content.raw))
        end = content.raw.find(b"\n")
        rest = b"" if end < 0 else content.raw[end:]
        return _download(header + rest, f"entry-{summary.id}.envelope")

    def _entry(self, request: Request) -> tuple[Summary, Content]:
        entry_id = request.path_params["id"]
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


def shown_header(raw: bytes) -> dict[str, Any]:
    """An envelope's header without its keys: the DSN, and the public key of a trace."""
    header: dict[str, Any] = orjson.loads(raw.partition(b"\n")[0])
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


def _download(content: bytes, name: str) -> Response:
    # The name is ours: one from the envelope could be anything.
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, headers=headers, media_type="application/octet-stream")


def _version() -> str:
    try:
        return version("consumer-fleet")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0"
