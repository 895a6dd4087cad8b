"""The ``ingest-events`` topic: MessagePack maps that Relay writes for Sentry.

Relay with processing on writes one map per message, with a ``type`` (getsentry/relay,
``relay-server/src/services/store.rs``). Its topics for transactions, attachments and feedback
have the same form, and share this format. An attachment's content is in its own message only while
it is small: a larger one is spread over messages, or kept in an object store, and can't be made
whole here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn

import msgspec

from consumer_fleet.capture.envelope import Envelope, Item, build, make_item, normalize_event_id
from consumer_fleet.capture.items import OWN_ITEM_TYPES, item_type_of
from consumer_fleet.codec import Decoded, RawMessage
from consumer_fleet.consumers.format import (
    JsonObject,
    MsgpackFormat,
    Visitor,
    brief,
    bytes_of,
    event_id_of,
    load_json,
)
from consumer_fleet.errors import RejectedMessage

_ITEM_TYPE_MARKS: Final = tuple(f'"{name}"'.encode() for name in OWN_ITEM_TYPES)

# An attachment's members and the names that they have in an item's header.
_ATTACHMENT_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {"name": "filename", "content_type": "content_type", "attachment_type": "attachment_type"}
)


# How Relay begins an event's payload: its id, and the type of the whole event, not of a part of it.
_RELAY_EVENT: Final = re.compile(
    rb'\{"event_id":"([0-9a-f]{32})"(?:,"level":"[a-z]+")?(?:,"version":"[^"\\]*")?,"type":"([a-z]+)"'
)


class _PlainEvent(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The usual message: an event without attachments, with the members that Relay writes."""

    type: Literal["event"]
    payload: bytes
    event_id: str
    start_time: int
    project_id: int
    remote_addr: str | None = None
    attachments: Annotated[list[None], msgspec.Meta(max_length=0)] = []


_decode_plain_event: Final = msgspec.msgpack.Decoder(_PlainEvent).decode
_EVENT_ITEM: Final = (b'{"type":"event","length":%d}', "event")
_new: Final = tuple.__new__
_ENVELOPE_DEFAULTS: Final = tuple(Envelope._field_defaults.values())
_own_items: Final = {
    name.encode(): (b'{"type":"%b","length":%%d}' % name.encode(), name) for name in OWN_ITEM_TYPES
}


def _decode_fast(value: bytes) -> Envelope | None:
    """The envelope of the usual message, which needs neither a general parser nor a search through
    its payload. None if the message is any other one, valid or not.

    ``_new`` makes a named tuple in half the time.
    """
    try:
        message = _decode_plain_event(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    event_id, payload = message.event_id, message.payload
    beginning = _RELAY_EVENT.match(payload)
    if beginning is None:
        return None
    known_id, kind = beginning.groups()
    if event_id.encode() != known_id:
        return None
    header, item_type = _own_items.get(kind, _EVENT_ITEM)
    item = _new(Item, (header % len(payload), item_type, payload))
    header = b'{"event_id":"%b"}' % known_id
    return _new(Envelope, (header, event_id, (item,)) + _ENVELOPE_DEFAULTS)  # noqa: RUF005 - faster


class IngestEvents(MsgpackFormat):
    """Maps with a ``type``; payloads and attachments keep their bytes."""

    examples: ClassVar[str | Sequence[Any]] = "ingest-events"
    schema = "ingest-events"

    def decode(self, message: RawMessage) -> Decoded:
        envelope = _decode_fast(message.value) if message.value else None
        return super().decode(message) if envelope is None else envelope

    def to_envelope(self, fields: JsonObject, message: RawMessage) -> Envelope:
        kind = fields.get("type")
        handler = _KINDS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            raise RejectedMessage("unknown_type", f"the message's type is {brief(kind)}")
        return handler(fields, message)

    def rebuild_fields(self, fields: JsonObject, visitor: Visitor) -> JsonObject:
        attachments, attachment = fields.pop("attachments", None), fields.pop("attachment", None)
        chunk = fields.pop("payload", None) if fields.get("type") == "attachment_chunk" else None
        fields = super().rebuild_fields(fields, visitor)
        if chunk is not None:
            fields["payload"] = visitor.blob("attachment_chunk", _as_bytes(chunk))
        if attachments is not None:
            fields["attachments"] = [_visit_attachment(each, visitor) for each in attachments]
        if attachment is not None:
            fields["attachment"] = _visit_attachment(attachment, visitor)
        return fields


def _visit_attachment(attachment: object, visitor: Visitor) -> JsonObject:
    if not isinstance(attachment, dict):
        raise TypeError("an attachment is not a map")
    data = attachment.pop("data", None)
    members = visitor.frame(attachment)
    if data is not None:
        members["data"] = visitor.blob("attachment", _as_bytes(data))
    return members


def _as_bytes(content: Any) -> bytes:
    return content.encode() if isinstance(content, str) else bytes(content)


def _event(fields: JsonObject, message: RawMessage) -> Envelope:
    attachments = fields.get("attachments") or []
    if not isinstance(attachments, list):
        raise RejectedMessage("invalid_message", "attachments is not a list")
    items = [event_item(bytes_of(fields, "payload"))]
    items += [_attachment_item(attachment, index) for index, attachment in enumerate(attachments)]
    return build(event_id_of(fields, message), items)


def _attachment(fields: JsonObject, message: RawMessage) -> Envelope:
    return build(event_id_of(fields, message), (_attachment_item(fields.get("attachment"), 0),))


def _attachment_chunk(fields: JsonObject, _message: RawMessage) -> NoReturn:
    name = fields.get("id") or fields.get("attachment_id")
    detail = f"chunk {brief(fields.get('chunk_index'))} of attachment {brief(name)}"
    raise RejectedMessage("attachment_chunks", detail)


def _user_report(fields: JsonObject, message: RawMessage) -> Envelope:
    payload = bytes_of(fields, "payload")
    report = load_json(payload, "the user report")
    # Relay writes the id of the event that is reported on into the payload only.
    event_id = normalize_event_id(report.get("event_id")) if isinstance(report, dict) else None
    item = make_item("user_report", payload)
    return build(event_id or event_id_of(fields, message), (item,))


_KINDS: Final[Mapping[str, Callable[[JsonObject, RawMessage], Envelope]]] = MappingProxyType(
    {
        "event": _event,
        "attachment": _attachment,
        "attachment_chunk": _attachment_chunk,
        "user_report": _user_report,
    }
)


def event_item(payload: bytes) -> Item:
    """The item of an event's payload."""
    return make_item(_item_type(payload), payload)


def _item_type(payload: bytes) -> str:
    """The payload is parsed only where its bytes leave a doubt: most are plain errors."""
    if not any(mark in payload for mark in _ITEM_TYPE_MARKS):
        return "event"
    event = load_json(payload, "the payload")
    event_type = event.get("type") if isinstance(event, dict) else None
    return item_type_of(event_type)


def attachment_attributes(attachment: JsonObject) -> dict[str, str]:
    """The members of an item's header for an attachment as Relay describes it."""
    return {
        name: attachment[member]
        for member, name in _ATTACHMENT_ATTRIBUTES.items()
        if isinstance(attachment.get(member), str)
    }


def _attachment_item(attachment: object, index: int) -> Item:
    if not isinstance(attachment, dict):
        raise RejectedMessage("invalid_message", f"attachment {index} is not a map")
    content = _content(attachment, index)
    return make_item("attachment", content, **attachment_attributes(attachment))


def _content(attachment: JsonObject, index: int) -> bytes:
    """An attachment's bytes. A rejection says where they are instead."""
    if attachment.get("data") is not None:
        return bytes_of(attachment, "data")
    chunks, size = attachment.get("chunks"), attachment.get("size")
    if attachment.get("stored_id") is not None:
        where = "in an object store"
    elif chunks:
        where = f"in other messages ({brief(chunks)} chunks)"
    elif size:
        where = "missing"
    else:
        return b""
    name = brief(attachment.get("name"))
    raise RejectedMessage("attachment_chunks", f"attachment {index}, {name}: its bytes are {where}")
