"""Messages of other topics than ``ingest-events``, of the sizes that they often have."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import msgpack
import orjson

from tests.support.messages import examples

# Of a function that a user gives to --transform.
RULES = """\
def name_release(event, hint):
    event["release"] = "1.0"
    return event
"""
_FRAME = {
    "function": "handle_request",
    "module": "shop.checkout.views",
    "filename": "shop/checkout/views.py",
    "abs_path": "/srv/shop/checkout/views.py",
    "lineno": 217,
    "context_line": "        order = self.repository.find(request.order_id)",
    "pre_context": ["", "    def handle_request(self, request):", "        try:"],
    "post_context": ["        except KeyError:", "            raise NotFound()", ""],
    "in_app": True,
    "vars": {"self": "<shop.checkout.views.View>", "attempts": 3, "request": {"id": "f3a9"}},
}


def ingest_events(count: int, size: int) -> Iterator[bytes]:
    """Errors of ``size`` bytes as Relay writes them, with long stack traces."""
    (example,) = examples("ingest-events").values()
    fields = msgpack.unpackb(example)
    event = orjson.loads(fields["payload"])
    event["exception"] = _exception(size - len(example))
    for event_id, payload in _varied(count, event):
        yield msgpack.packb(fields | {"event_id": event_id, "payload": payload})


def events(count: int, size: int) -> Iterator[bytes]:
    """Errors of ``size`` bytes as Sentry writes them for Snuba."""
    version, operation, row, state = orjson.loads(examples("events")["errors1.json"])
    data = row["data"]
    data["exception"] = _exception(size - len(orjson.dumps(row)))
    row["data"] = "<data>"
    for event_id, payload in _varied(count, data):
        row["event_id"] = event_id
        frame = orjson.dumps([version, operation, row, state])
        yield frame.replace(b'"<data>"', payload)


def ingest_transactions(count: int, _size: int) -> Iterator[bytes]:
    """The schemas' example, which has 57 KB, with other ids."""
    (example,) = examples("ingest-transactions").values()
    fields = msgpack.unpackb(example)
    for event_id, payload in _varied(count, orjson.loads(fields["payload"])):
        yield msgpack.packb(fields | {"event_id": event_id, "payload": payload})


def _exception(size: int) -> dict[str, Any]:
    frames = max(1, round(size / (len(orjson.dumps(_FRAME)) + 1)))
    trace = {"frames": [_FRAME] * frames}
    return {"values": [{"type": "KeyError", "value": "'order'", "stacktrace": trace}]}


def _varied(count: int, event: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The event's JSON with other ids."""
    event["event_id"] = "<cut>"
    start, end = orjson.dumps(event).split(b"<cut>")
    chance = random.Random(count)
    for _ in range(count):
        event_id = uuid.UUID(int=chance.getrandbits(128), version=4).hex
        yield event_id, start + event_id.encode() + end
