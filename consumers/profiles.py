"""The ``profiles`` topic: profiles that Relay writes for Sentry.

A chunk of a continuous profile stands alone. The profile of a transaction does not: upstreams
refuse one that comes without its transaction, which is in another topic.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

import msgpack
import msgspec
import orjson

from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.format import JsonObject, MsgpackFormat, brief, bytes_of
from consumer_fleet.errors import RejectedMessage


class _Chunk(msgspec.Struct, gc=False):
    """The one member that is needed of a payload of up to tens of megabytes."""

    platform: str


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode

# sentry-kafka-schemas has no chunk: the smallest one that an SDK may send.
_EXAMPLE: Final = {
    "type": "profile_chunk",
    "organization_id": 1,
    "project_id": 1,
    "retention_days": 90,
    "payload": {
        "version": "2",
        "platform": "python",
        "environment": "production",
        "release": "shop@1.0",
        "client_sdk": {"name": "sentry.python", "version": "2.40.0"},
        "measurements": {},
        "profile": {
            "frames": [{"function": "checkout", "filename": "shop/cart.py", "lineno": 12}],
            "stacks": [[0]],
            "samples": [{"thread_id": "1", "stack_id": 0}, {"thread_id": "1", "stack_id": 0}],
            "thread_metadata": {"1": {"name": "main"}},
        },
    },
}


class Profiles(MsgpackFormat):
    """Maps with a ``type``; a chunk's payload keeps its bytes."""

    item_type = "profile_chunk"
    examples = (_EXAMPLE,)
    schema = "profiles"

    def to_envelope(self, fields: JsonObject, message: RawMessage) -> Envelope | Skipped:
        kind = fields.get("type")
        if kind == "profile":
            return Skipped("needs_transaction")
        if kind != "profile_chunk":
            raise RejectedMessage("unknown_type", f"the message's type is {brief(kind)}")
        payload = bytes_of(fields, "payload")
        try:
            platform = _decode_chunk(payload).platform
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            detail = f"the profile chunk: {error}"
            raise RejectedMessage("invalid_profile_chunk", detail[:200]) from error
        # Upstreams require the platform in the item's header, and compare it with the payload's.
        # No event id: a chunk is known by the ids in its payload.
        return build(None, (make_item(self.item_type, payload, platform=platform),))

    def fresh_example(self, example: Any) -> bytes:
        now = time.time()
        chunk = dict(example["payload"], profiler_id=uuid.uuid4().hex, chunk_id=uuid.uuid4().hex)
        samples = chunk["profile"]["samples"]
        times = [{**each, "timestamp": now + index / 100} for index, each in enumerate(samples)]
        chunk["profile"] = {**chunk["profile"], "samples": times}
        fields = {**example, "payload": orjson.dumps(chunk), "received": int(now)}
        return bytes(msgpack.packb(fields))
