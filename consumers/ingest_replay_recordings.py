"""The ``ingest-replay-recordings`` topic: one segment of a session replay per message.

Relay writes the recording together with the replay's event, and with the video where there is one
(getsentry/relay, ``relay-server/src/services/store.rs``). An upstream takes them in one of two
forms: an event and a recording, or one item that holds all three and stands alone.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Final

import msgpack

from consumer_fleet.capture.envelope import Envelope, build, make_item, normalize_event_id
from consumer_fleet.codec import RawMessage
from consumer_fleet.consumers.format import (
    JsonObject,
    MsgpackFormat,
    Visitor,
    brief,
    bytes_of,
    visit_payload,
)
from consumer_fleet.errors import RejectedMessage

_KIND: Final = "replay_recording_not_chunked"
# The members that hold payloads, and the types of items that they become.
_PARTS: Final = {
    "payload": "replay_recording",
    "replay_event": "replay_event",
    "replay_video": "replay_video",
}


class IngestReplayRecordings(MsgpackFormat):
    """Maps with a ``replay_id``; the recording, the event and the video keep their bytes."""

    item_type = "replay_recording"
    examples = schema = "ingest-replay-recordings"

    def to_envelope(self, fields: JsonObject, message: RawMessage) -> Envelope:
        kind = fields.get("type")
        if kind != _KIND:
            raise RejectedMessage("unknown_type", f"the message's type is {brief(kind)}")
        # The segments of a replay find each other by this id: a derived one would part them.
        replay_id = normalize_event_id(fields.get("replay_id"))
        if replay_id is None:
            detail = f"replay_id is {brief(fields.get('replay_id'))}, not an id"
            raise RejectedMessage("invalid_message", detail)
        recording = bytes_of(fields, "payload")
        event, video = (_optional(fields, name) for name in ("replay_event", "replay_video"))
        if video:
            parts = {"replay_event": event, "replay_recording": recording, "replay_video": video}
            return build(replay_id, (make_item("replay_video", msgpack.packb(parts)),))
        items = [make_item("replay_event", event)] if event else []
        return build(replay_id, (*items, make_item("replay_recording", recording)))

    def rebuild_fields(self, fields: JsonObject, visitor: Visitor) -> JsonObject:
        parts = {name: fields.pop(name) for name in _PARTS if fields.get(name) is not None}
        fields = visitor.frame(fields)
        for name, part in parts.items():
            content = part.encode() if isinstance(part, str) else bytes(part)
            if name == "replay_event":
                fields[name] = visit_payload(name, content, visitor)
            else:
                fields[name] = visitor.blob(_PARTS[name], content)
        return fields

    def fresh_example(self, example: Any) -> bytes:
        fields = {**example, "replay_id": uuid.uuid4().hex, "received": int(time.time())}
        return bytes(msgpack.packb(fields))


def _optional(fields: JsonObject, name: str) -> bytes:
    """The bytes of a member; empty where it is missing."""
    return b"" if fields.get(name) is None else bytes_of(fields, name)
