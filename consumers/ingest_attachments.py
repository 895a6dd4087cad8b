"""The ``ingest-attachments`` topic: attachments that Relay writes for Sentry, and their events.

An attachment's bytes are in one of three locations (getsentry/relay, ``AttachmentPayload`` in
``relay-server/src/services/store.rs``): in its own message, in ``attachment_chunk`` messages of
their own, which Relay writes before the message that names them, or in an object store, which no
consumer of Kafka can read.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from consumer_fleet.capture.envelope import Item, build, make_item, normalize_event_id
from consumer_fleet.capture.items import creates_event
from consumer_fleet.codec import Blob, Decoded, Fragment, Incomplete, RawMessage, Skipped
from consumer_fleet.consumers.format import (
    JsonObject,
    brief,
    bytes_of,
    event_id_of,
    unpack,
    value_of,
)
from consumer_fleet.consumers.ingest_events import IngestEvents, attachment_attributes, event_item
from consumer_fleet.errors import RejectedMessage

_EXAMPLE_EVENT: Final = (
    b'{"event_id":"","type":"error","platform":"python","level":"error","logger":"checkout",'
    b'"logentry":{"formatted":"The printer is out of paper"},"timestamp":0,"project":1}'
)
_EXAMPLE_ATTACHMENT: Final = MappingProxyType(
    {
        "id": "0d5c3ba8-7f0e-4bd3-9a5c-56a1dd2b1f6a",
        "name": "printer.log",
        "content_type": "text/plain",
        "attachment_type": "event.attachment",
        "data": b"page 1 of 3: ok\npage 2 of 3: no paper\n",
        "size": 38,
        "rate_limited": False,
    }
)
# Longer ones are not Relay's: its ids are UUIDs.
_LONGEST_ID: Final = 200

_Missing: TypeAlias = Literal["object_store", "missing_chunks"]


class IngestAttachments(IngestEvents):
    """Events and attachments that may be spread over several messages."""

    examples = (
        {
            "type": "event",
            "project_id": 1,
            "remote_addr": None,
            "payload": _EXAMPLE_EVENT,
            "attachments": [dict(_EXAMPLE_ATTACHMENT)],
        },
    )

    schema = "ingest-attachments"
    assembles = True

    def decode(self, message: RawMessage) -> Decoded:
        fields = unpack(value_of(message))
        kind = fields.get("type")
        if kind == "attachment_chunk":
            return _chunk(fields)
        if kind == "event":
            return _event(fields, message)
        if kind == "attachment":
            return _lone_attachment(fields, message)
        return self.to_envelope(fields, message)


def _chunk(fields: JsonObject) -> Fragment:
    key = _blob_key(fields, fields.get("id") or fields.get("attachment_id"))
    if key is None:
        raise RejectedMessage(
            "invalid_message", "the chunk does not name its attachment: event_id and id are needed"
        )
    number = _count_of(fields.get("chunk_index"), "chunk_index")
    return Fragment(key, number, bytes_of(fields, "payload"))


def _event(fields: JsonObject, message: RawMessage) -> Decoded:
    payload = bytes_of(fields, "payload")
    attachments = fields.get("attachments") or []
    if not isinstance(attachments, list):
        raise RejectedMessage("invalid_message", "attachments is not a list")
    return _assembled([event_item(payload)], attachments, fields, message)


def _lone_attachment(fields: JsonObject, message: RawMessage) -> Decoded:
    attachment = fields.get("attachment")
    if isinstance(attachment, dict) and creates_event(attachment.get("attachment_type")):
        # Without its event beside it, an upstream makes a second event of it.
        return Skipped("needs_event")
    found = _assembled([], [attachment], fields, message)
    if isinstance(found, Incomplete) and not found.envelope.items:
        return Skipped(found.left_out[0])
    return found


def _assembled(
    items: list[Item], attachments: list[Any], fields: JsonObject, message: RawMessage
) -> Decoded:
    """The items and the attachments, with the blobs that other messages hold."""
    blobs: list[Blob] = []
    left_out: list[str] = []
    for number, attachment in enumerate(attachments):
        if not isinstance(attachment, dict):
            raise RejectedMessage("invalid_message", f"attachment {number} is not a map")
        content = _content(attachment, fields)
        if isinstance(content, str):
            left_out.append(content)
            continue
        if isinstance(content, Blob):
            blobs.append(content._replace(item=len(items)))
            content = b""
        items.append(make_item("attachment", content, **attachment_attributes(attachment)))
    envelope = build(event_id_of(fields, message), items)
    if blobs or left_out:
        return Incomplete(envelope, tuple(blobs), tuple(left_out))
    return envelope


def _content(attachment: JsonObject, fields: JsonObject) -> bytes | Blob | _Missing:
    """An attachment's bytes, or where they are."""
    if attachment.get("data") is not None:
        return bytes_of(attachment, "data")
    if attachment.get("stored_id") is not None:
        return "object_store"
    announced = attachment.get("chunks")
    chunks = 0 if announced is None else _count_of(announced, "the number of chunks")
    if chunks == 0:
        return "missing_chunks" if attachment.get("size") else b""
    key = _blob_key(fields, attachment.get("id"))
    return "missing_chunks" if key is None else Blob(key, chunks, 0)


def _count_of(value: object, subject: str) -> int:
    if type(value) is not int or value < 0:
        raise RejectedMessage("invalid_message", f"{subject} is {brief(value)}")
    return value


def _blob_key(fields: JsonObject, attachment_id: object) -> bytes | None:
    """Project, event and attachment id together name an attachment; None if one is missing."""
    event_id = normalize_event_id(fields.get("event_id"))
    is_id = isinstance(attachment_id, str) and 0 < len(attachment_id) <= _LONGEST_ID
    if event_id is None or not is_id:
        return None
    project = fields.get("project_id")
    name = f"{project if type(project) is int else ''}/{event_id}/{attachment_id}"
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=16).digest()
