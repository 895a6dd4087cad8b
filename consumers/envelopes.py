"""The ``envelopes`` topic: raw Sentry envelopes, as an SDK sends them.

They pass byte for byte. Only an event id is added where an item can't do without one: a
redelivered envelope must be recognised upstream as the one that is already there.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import Any, Final

import orjson

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import (
    Envelope,
    build,
    make_item,
    parse,
    serialize,
    with_event_id,
)
from consumer_fleet.capture.items import (
    HAS_EVENT,
    NAMES_EVENT,
    NEEDS_EVENT,
    OPAQUE_TYPES,
    named_event_id,
)
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.finders import as_project_id
from consumer_fleet.consumers.format import (
    FormatOptions,
    MessageFormat,
    Visitor,
    fresh_event,
    iso_time,
    json_object,
    value_of,
    visit_payload,
)
from consumer_fleet.consumers.view import ReadableValue, read_envelope

# Members that Relay adds to an event and that an SDK does not send.
_ADDED_BY_RELAY: Final = ("_metrics", "grouping_config", "key_id", "project", "received")
# The DSN of an SDK; not a real one, so that nothing can be routed by it.
_SDK_DSN: Final = "https://example@o0.ingest.example.invalid/1"


class RawEnvelopes(MessageFormat):
    """Envelopes; also the base for another topic that holds envelopes."""

    # The schemas have no raw envelopes: these are made of the events that Relay writes.
    examples = "ingest-events"

    _marks: tuple[bytes, ...] = ()

    def with_options(self, options: FormatOptions) -> RawEnvelopes:
        marked = copy(self)
        marked._marks = tuple(dsn.mark for dsn in options.dsns)
        return marked

    def decode(self, message: RawMessage) -> Envelope | Skipped:
        """The envelope that the message is; Skipped if it has no items, or was sent before."""
        envelope = parse(value_of(message))
        for mark in self._marks:
            if mark in envelope.header:
                return Skipped("circle")
        if not envelope.items:
            return Skipped("empty_envelope")
        if envelope.event_id is None and any(item.type in NEEDS_EVENT for item in envelope.items):
            return with_event_id(envelope, _named_event_id(envelope) or message.derived_event_id())
        return envelope

    def rebuild(self, value: bytes, visitor: Visitor) -> bytes:
        envelope = parse(value)
        lines = [orjson.dumps(visitor.frame(orjson.loads(envelope.header)))]
        for item in envelope.items:
            if item.type in OPAQUE_TYPES:
                payload = visitor.blob(item.type, item.payload)
            else:
                payload = visit_payload(item.type, item.payload, visitor)
            header = visitor.frame(orjson.loads(item.header))
            # Without a length, a newline in the payload would end it.
            lines += [orjson.dumps({**header, "type": item.type, "length": len(payload)}), payload]
        return _joined(lines, envelope)

    def with_event_id(self, value: bytes, event_id: str) -> bytes:
        envelope = with_event_id(parse(value), event_id)
        lines = [envelope.header]
        for item in envelope.items:
            payload = json_object(item.payload) if item.type in HAS_EVENT else None
            if payload is not None:
                attributes = orjson.loads(item.header)
                del attributes["type"]
                attributes.pop("length", None)
                item = make_item(  # noqa: PLW2901 - the same item, with its id
                    item.type, orjson.dumps(payload | {"event_id": event_id}), **attributes
                )
            lines += (item.header, item.payload)
        return _joined(lines, envelope)

    def project_of(self, message: RawMessage) -> int | None:
        """The project of the DSN that the SDK was configured with."""
        dsn = _sdk_dsn(message)
        return None if dsn is None else as_project_id(dsn.project_id)

    def key_of(self, message: RawMessage) -> str | None:
        dsn = _sdk_dsn(message)
        return None if dsn is None else dsn.public_key

    def view(self, value: bytes) -> ReadableValue:
        return read_envelope(value)

    def fresh_example(self, example: Any) -> bytes:
        event = fresh_event(orjson.loads(example["payload"]))
        sent_at = iso_time(event["timestamp"])
        for name in _ADDED_BY_RELAY:
            event.pop(name, None)
        item = make_item("event", orjson.dumps(event), content_type="application/json")
        return serialize(build(event["event_id"], (item,)), dsn=_SDK_DSN, sent_at=sent_at)


def _sdk_dsn(message: RawMessage) -> Dsn | None:
    header = json_object((message.value or b"").partition(b"\n")[0]) or {}
    dsn = header.get("dsn")
    return _parse_dsn(dsn) if isinstance(dsn, str) else None


# A topic has few DSNs, each in many messages.
@lru_cache(1024)
def _parse_dsn(text: str) -> Dsn | None:
    try:
        return Dsn.parse(text)
    except ValueError:
        return None


def _joined(lines: list[bytes], original: Envelope) -> bytes:
    return b"\n".join([*lines, b""] if original.final_newline else lines)


def _named_event_id(envelope: Envelope) -> str | None:
    for wanted in NAMES_EVENT:
        for item in envelope.items:
            if item.type == wanted and (event_id := named_event_id(item)):
                return event_id
    return None
