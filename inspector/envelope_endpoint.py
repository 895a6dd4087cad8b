"""``POST /api/{project}/envelope/``: takes envelopes like a Sentry, from whoever has the key."""

from __future__ import annotations

import hmac
import re
import time
from typing import Any

import orjson
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from fleet.capture.envelope import Envelope, parse
from fleet.errors import OutputError, RejectedMessage
from inspector.entry import Answer, NewEntry, Origin
from inspector.request_body import BodyRefused, decompress, too_large
from inspector.store import Store

log = structlog.get_logger(__name__)

_KEY = re.compile(r"(?:^|[\s,])sentry_key\s*=\s*([^\s,]+)")
_LARGEST = 2**63 - 1
_TOPIC_CHARS = 249  # Kafka's own limit


class EnvelopeEndpoint:
    """An ASGI app: one project with one key. What is accepted is stored before it is answered."""

    def __init__(self, store: Store, *, project: str, key: str, limit_bytes: int) -> None:
        self._store = store
        self._project = project
        self._key = key.encode()
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            response = await self._post(Request(scope, receive))
        else:
            response = JSONResponse({"detail": "envelopes are posted"}, 405, {"Allow": "POST"})
        await response(scope, receive, send)

    async def _post(self, request: Request) -> Response:
        try:
            project = self._authenticated_project(request)
            body = await self._body(request)
            raw = decompress(body, request.headers.get("content-encoding", ""), self._limit_bytes)
            envelope = parse(raw)
        except BodyRefused as error:
            return JSONResponse({"detail": error.detail}, error.status)
        except RejectedMessage as error:
            return JSONResponse({"detail": str(error)}, 400)
        except ClientDisconnect:
            return JSONResponse({"detail": "the request was cut short"}, 400)  # to nobody
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
            return JSONResponse({"detail": "the store can't be written"}, 503)
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

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limit_bytes:
                raise too_large(self._limit_bytes)
        return bytes(body)


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
