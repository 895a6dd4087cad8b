"""``POST /api/{project}/envelope/``: takes envelopes like a Sentry, from whoever has the key."""

from __future__ import annotations

import asyncio
import hmac
import io
import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
import structlog
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from fleet.capture.envelope import Envelope, parse
from fleet.errors import OutputError, RejectedMessage
from inspector.entry import MAX_ITEMS, Answer, NewEntry, Origin
from inspector.request_body import BodyRefused, TooLarge, decompress
from inspector.store import Store

log = structlog.get_logger(__name__)

_KEY = re.compile(r"(?:^|[\s,])sentry_key\s*=\s*([^\s,]+)")
_LARGEST = 2**63 - 1
_TOPIC_CHARS = 249  # Kafka's own limit
# Up to this, received and decoded, an envelope is taken in at once. Larger ones wait for one
# another, so that they cost the memory of one of them.
_SMALL_BYTES: Final = 512 * 1024
_LARGE_TIMEOUT_S: Final = 60.0


class EnvelopeEndpoint:
    """An ASGI app: one project with one key. What is accepted is stored before it is answered."""

    def __init__(self, store: Store, *, project: str, key: str, limit_bytes: int) -> None:
        self._store = store
        self._project = project
        self._key = key.encode()
        self._limit_bytes = limit_bytes
        self._large = asyncio.Semaphore()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            response = await self._post(Request(scope, receive))
        else:
            response = JSONResponse({"detail": "envelopes are posted"}, 405, {"Allow": "POST"})
        await response(scope, receive, send)

    async def _post(self, request: Request) -> Response:
        try:
            project = self._authenticated_project(request)
            return await self._take(request, project)
        except BodyRefused as error:
            return _refusal(error)
        except ClientDisconnect:
            return JSONResponse({"detail": "the request was cut short"}, 400)  # to nobody
        except asyncio.CancelledError:  # by the server's stop, which has waited long enough
            return JSONResponse({"detail": "the inspector stops"}, 503)

    async def _take(self, request: Request, project: str) -> Response:
        body, chunks = io.BytesIO(), request.stream()
        encoding = request.headers.get("content-encoding", "")
        small = min(_SMALL_BYTES, self._limit_bytes)
        is_whole = await _read(chunks, body, small)
        if is_whole:
            answer = self._accept(project, body, encoding, small)
            if answer.status_code != 413:
                return answer
        async with self._large:
            if not is_whole:
                await self._read_rest(chunks, body)
            # In a thread: it would hold up the other requests.
            return await to_thread.run_sync(
                self._accept, project, body, encoding, self._limit_bytes
            )

    async def _read_rest(self, chunks: AsyncIterator[bytes], body: io.BytesIO) -> None:
        try:
            async with asyncio.timeout(_LARGE_TIMEOUT_S):  # others wait
                is_whole = await _read(chunks, body, self._limit_bytes)
        except TimeoutError as error:
            detail = f"a large envelope must arrive within {_LARGE_TIMEOUT_S:g} s"
            raise BodyRefused(408, detail) from error
        if not is_whole:
            raise TooLarge(self._limit_bytes)

    def _accept(self, project: str, body: io.BytesIO, encoding: str, limit_bytes: int) -> Response:
        """The answer, also where it is a refusal.

        An error that left the thread would keep all that was decoded until the next full garbage
        collection.
        """
        try:
            raw = decompress(body.getvalue(), encoding, limit_bytes)
            body.close()  # what is decoded is enough to hold
            envelope = parse(raw, MAX_ITEMS)
        except BodyRefused as error:
            return _refusal(error)
        except RejectedMessage as error:
            return _refusal(BodyRefused(400, str(error)))
        now = time.time()
        entry = NewEntry(
            raw,
            envelope,
            received_at=now,
            project=project,
            origin=origin_of(envelope),
            answers=(Answer("inspector", 200, "", now),),
        )
        try:
            self._store.add(entry)
        except OutputError as error:
            log.error("inspector_store_failed", error=str(error))
            return _refusal(BodyRefused(503, "the store can't be written"))
        # Relay leaves the id out where an envelope has none.
        answer = {} if envelope.event_id is None else {"id": envelope.event_id}
        return Response(orjson.dumps(answer), media_type="application/json")

    def _authenticated_project(self, request: Request) -> str:
        keys = _KEY.findall(request.headers.get("x-sentry-auth", ""))
        if request.scope["query_string"]:
            keys += request.query_params.getlist("sentry_key")
        if len(keys) != 1:
            problem = "missing" if not keys else "given more than once"
            raise BodyRefused(401, f"the authorization (sentry_key) is {problem}")
        project: str = request.path_params["project"]
        if not hmac.compare_digest(keys[0].encode(), self._key):
            raise BodyRefused(403, "the key is not this project's")
        if project != self._project:
            raise BodyRefused(403, "the key belongs to another project")
        return project


def _refusal(refused: BodyRefused) -> Response:
    return JSONResponse({"detail": refused.detail}, refused.status)


async def _read(chunks: AsyncIterator[bytes], body: io.BytesIO, limit_bytes: int) -> bool:
    """Add chunks to ``body`` until it has more than ``limit_bytes``; whether it is whole."""
    async for chunk in chunks:
        body.write(chunk)
        if body.tell() > limit_bytes:
            return False
    return True


def origin_of(envelope: Envelope) -> Origin | None:
    """Where the header says that the envelope was in Kafka, if it does so in the known form."""
    if b'"kafka"' not in envelope.header:
        return None
    members: Any = orjson.loads(envelope.header).get("kafka")
    if not isinstance(members, dict):
        return None
    topic = members.get("topic")
    partition, offset = _count(members.get("partition")), _count(members.get("offset"))
    if not (isinstance(topic, str) and 0 < len(topic) <= _TOPIC_CHARS):
        return None
    if partition is None or offset is None:
        return None
    return Origin(topic, partition, offset)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _LARGEST else None
