"""New ids for the events of a replay: another one for each, and one for those that have none."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgpack
import orjson

from consumer_fleet.capture.envelope import make_item, normalize_event_id, parse, with_event_id
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.formats import UnreadableMessage
from consumer_fleet.errors import RejectedMessage

#: Members that hold an event's id, or another event's: a feedback names the event it is about. A
#: replay and a profile have ids of this kind, and a replay's is its envelope's.
ID_MEMBERS: Final = frozenset(
    {"associated_event_id", "error_ids", "event_id", "profile_id", "replay_id"}
)
# Items whose payload has the id beside the envelope's header.
_EVENT_ITEMS: Final = ("event", "feedback", "transaction")


class NewIds:
    """The same id becomes the same new one everywhere in this replay, and another in the next."""

    def __init__(self) -> None:
        self._namespace = uuid.uuid4()

    def of_value(self, value: object) -> object:
        """An id, or a list of them; what is no id, as it is."""
        if isinstance(value, list):
            return [self.of_value(each) for each in value]
        event_id = normalize_event_id(value)
        if event_id is None:
            return value
        new = uuid.uuid5(self._namespace, event_id)
        return str(new) if "-" in str(value) else new.hex

    def of_profile(self, profile: object) -> None:
        """A profile names its transactions by their event ids, in a member of another name."""
        if not isinstance(profile, dict):
            return
        several = profile.get("transactions")
        for each in (profile.get("transaction"), *(several if isinstance(several, list) else ())):
            if isinstance(each, dict) and "id" in each:
                each["id"] = self.of_value(each["id"])


def add_missing_id(consumer: str, value: bytes) -> bytes:
    """The value, with an event id if its consumer would derive one from the message's place.

    Raises UnreadableMessage for what its consumer rejects.
    """
    # A place that no message has: what is derived from it is a new id.
    message = RawMessage(uuid.uuid4().hex, 0, 0, None, value)
    try:
        decoded = registry.get(consumer).decode(message)
    except RejectedMessage as error:
        raise UnreadableMessage(error.reason) from error
    new = message.derived_event_id()
    if isinstance(decoded, Skipped) or decoded.event_id != new:
        return value
    return _FORMATS[consumer](value, new)


def _in_stream_message(value: bytes, new: str) -> bytes:
    message = orjson.loads(value)
    for part in message:
        if isinstance(part, dict) and isinstance(part.get("data"), dict):
            part["event_id"] = part["data"]["event_id"] = new
    return orjson.dumps(message)


def _in_ingest_message(value: bytes, new: str) -> bytes:
    fields = msgpack.unpackb(value)
    payload = _object(fields.get("payload") or b"")
    # Of an event, the consumer reads the id outside; what its payload says is the same event.
    known = None if payload is None else normalize_event_id(payload.get("event_id"))
    fields["event_id"] = known or new
    if payload is not None and known is None:
        fields["payload"] = orjson.dumps(payload | {"event_id": new})
    return bytes(msgpack.packb(fields))


def _in_envelope(value: bytes, new: str) -> bytes:
    envelope = with_event_id(parse(value), new)
    lines = [envelope.header]
    for item in envelope.items:
        payload = _object(item.payload) if item.type in _EVENT_ITEMS else None
        if payload is not None:
            attributes = orjson.loads(item.header)
            del attributes["type"]
            attributes.pop("length", None)
            item = make_item(  # noqa: PLW2901 - the same item, with its id
                item.type, orjson.dumps(payload | {"event_id": new}), **attributes
            )
        lines += (item.header, item.payload)
    return b"\n".join([*lines, b""])


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


_FORMATS: Final[Mapping[str, Callable[[bytes, str], bytes]]] = MappingProxyType(
    {
        "events": _in_stream_message,
        "ingest-events": _in_ingest_message,
        "envelopes": _in_envelope,
    }
)
