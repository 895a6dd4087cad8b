"""The ``ingest-events`` topic: what Relay writes for Sentry, in MessagePack.

Relay with processing on writes one map per message, with a ``type`` (getsentry/relay,
``relay-server/src/services/store.rs``). Its topics for transactions, attachments and feedback
have the same form. An attachment's content is in its own message only while it is small: a
larger one is spread over messages, or kept in an object store, and can't be made whole here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias

import msgpack

from consumer_fleet.capture.envelope import Envelope, Item, build, make_item, normalize_event_id
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.payload import brief, load_json, value_of
from consumer_fleet.errors import RejectedMessage

Fields: TypeAlias = dict[str, Any]

# An upstream expects these events in an item of their own type, all others in "event".
_ITEM_TYPES: Final = ("transaction", "feedback")
_ITEM_TYPE_MARKS: Final = tuple(f'"{name}"'.encode() for name in _ITEM_TYPES)

# An attachment's members and the names that they have in an item's header.
_ATTACHMENT_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {"name": "filename", "content_type": "content_type", "attachment_type": "attachment_type"}
)


def decode(message: RawMessage) -> Envelope | Skipped:
    """The message as an envelope; payloads and attachments keep their bytes."""
    fields = _unpack(value_of(message))
    kind = fields.get("type")
    handler = _KINDS.get(kind) if isinstance(kind, str) else None
    if handler is None:
        raise RejectedMessage("unknown_type", f"the message's type is {brief(kind)}")
    return handler(fields, message)


def _unpack(raw: bytes) -> Fields:
    """Strings must be UTF-8 and keys strings; no length may exceed the message's own."""
    try:
        fields = msgpack.unpackb(raw, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except (ValueError, msgpack.UnpackException) as error:
        detail = str(error) or type(error).__name__
        raise RejectedMessage("invalid_msgpack", f"the message: {detail[:200]}") from error
    if not isinstance(fields, dict):
        raise RejectedMessage("invalid_msgpack", "the message is not a map")
    return fields


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code} with {len(data)} bytes")


def _event(fields: Fields, message: RawMessage) -> Envelope:
    payload = _bytes_of(fields, "payload")
    attachments = fields.get("attachments") or []
    if not isinstance(attachments, list):
        raise RejectedMessage("invalid_message", "attachments is not a list")
    items = [make_item(_item_type(payload), payload)]
    items += [_attachment_item(attachment, index) for index, attachment in enumerate(attachments)]
    return build(_event_id(fields, message), items)


def _attachment(fields: Fields, message: RawMessage) -> Envelope:
    return build(_event_id(fields, message), (_attachment_item(fields.get("attachment"), 0),))


def _attachment_chunk(fields: Fields, _message: RawMessage) -> NoReturn:
    name = fields.get("id") or fields.get("attachment_id")
    detail = f"chunk {brief(fields.get('chunk_index'))} of attachment {brief(name)}"
    raise RejectedMessage("attachment_chunks", detail)


def _user_report(fields: Fields, message: RawMessage) -> Envelope:
    payload = _bytes_of(fields, "payload")
    report = load_json(payload, "the user report")
    # Relay writes the id of the event that is reported on into the payload only.
    event_id = normalize_event_id(report.get("event_id")) if isinstance(report, dict) else None
    item = make_item("user_report", payload)
    return build(event_id or _event_id(fields, message), (item,))


_KINDS: Final[Mapping[str, Callable[[Fields, RawMessage], Envelope]]] = MappingProxyType(
    {
        "event": _event,
        "attachment": _attachment,
        "attachment_chunk": _attachment_chunk,
        "user_report": _user_report,
    }
)


def _event_id(fields: Fields, message: RawMessage) -> str:
    return normalize_event_id(fields.get("event_id")) or message.derived_event_id()


def _item_type(payload: bytes) -> str:
    """The payload is parsed only where its bytes leave a doubt: most are plain errors."""
    if not any(mark in payload for mark in _ITEM_TYPE_MARKS):
        return "event"
    event = load_json(payload, "the payload")
    event_type = event.get("type") if isinstance(event, dict) else None
    return event_type if event_type in _ITEM_TYPES else "event"


def _attachment_item(attachment: object, index: int) -> Item:
    if not isinstance(attachment, dict):
        raise RejectedMessage("invalid_message", f"attachment {index} is not a map")
    attributes = {
        name: attachment[member]
        for member, name in _ATTACHMENT_ATTRIBUTES.items()
        if isinstance(attachment.get(member), str)
    }
    return make_item("attachment", _content(attachment, index), **attributes)


def _content(attachment: Fields, index: int) -> bytes:
    """An attachment's bytes. A rejection says where they are instead."""
    if attachment.get("data") is not None:
        return _bytes_of(attachment, "data")
    chunks, size = attachment.get("chunks"), attachment.get("size")
    if attachment.get("stored_id") is not None:
        place = "in an object store"
    elif chunks:
        place = f"in other messages ({brief(chunks)} chunks)"
    elif size:
        place = "missing"
    else:
        return b""
    name = brief(attachment.get("name"))
    raise RejectedMessage("attachment_chunks", f"attachment {index}, {name}: its bytes are {place}")


def _bytes_of(fields: Fields, name: str) -> bytes:
    value = fields.get(name)
    if isinstance(value, str):  # older Relays wrote payloads as strings
        return value.encode()
    if not isinstance(value, bytes):
        raise RejectedMessage("invalid_message", f"{name} is not bytes")
    return value
