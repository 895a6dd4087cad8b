"""The parts that a message of each consumer consists of, for those who change or look at them.

A message is taken apart as its codec does it, each part goes through a ``Visitor``, and the
message is put together again: what a visitor does not change keeps its meaning, not its spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

import msgpack
import orjson

from consumer_fleet.capture.envelope import parse
from consumer_fleet.errors import RejectedMessage

# Items whose payload is no JSON, whatever it looks like.
_OPAQUE_ITEMS: Final = frozenset(
    {"attachment", "replay_recording", "replay_video", "statsd", "unreal_report"}
)


class Visitor(Protocol):
    """Gives back each part as it shall be. It may change what it is given."""

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        """What stands around the payloads: a row, an envelope's or an item's header."""

    def document(self, kind: str, document: Any) -> Any:
        """A JSON payload; ``kind`` is its item's type."""

    def blob(self, kind: str, content: bytes) -> bytes:
        """A payload that is no JSON."""


class UnreadableMessage(Exception):
    """The value is not what its consumer's format says."""


def visit(consumer: str, value: bytes, visitor: Visitor) -> bytes:
    """The value, each part of it as the visitor wants it. Raises UnreadableMessage."""
    try:
        return _FORMATS[consumer](value, visitor)
    except (
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        OverflowError,
        msgpack.UnpackException,
        RejectedMessage,
    ) as error:
        raise UnreadableMessage(str(error)[:200]) from error


def event_of(consumer: str, value: bytes | None) -> object:
    """The event of a message, or what its first JSON payload is; None where it has none."""
    finder = _Finder()
    try:
        visit(consumer, value or b"", finder)
    except UnreadableMessage:
        return None
    return finder.event if finder.event is not None else finder.first


class _Finder:
    def __init__(self) -> None:
        self.event: object = None
        self.first: object = None

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        return members

    def document(self, kind: str, document: Any) -> Any:
        if self.event is None and kind in ("event", "transaction"):
            self.event = document
        if self.first is None:
            self.first = document
        return document

    def blob(self, kind: str, content: bytes) -> bytes:
        return content


def _stream_message(value: bytes, visitor: Visitor) -> bytes:
    """``[version, operation, row, state]``; the row of an insert holds the event."""
    message = orjson.loads(value)
    if not isinstance(message, list):
        raise TypeError("not an array")
    for index, part in enumerate(message):
        if not isinstance(part, dict):
            message[index] = visitor.document("state", part)
            continue
        data = part.pop("data", None)
        message[index] = visitor.frame(part)
        if data is not None:
            message[index]["data"] = visitor.document("event", data)
    return orjson.dumps(message)


def _ingest_message(value: bytes, visitor: Visitor) -> bytes:
    """A map; its members ``payload`` and ``attachments`` hold the content."""
    fields = msgpack.unpackb(value, raw=False, max_ext_len=0)
    if not isinstance(fields, dict):
        raise TypeError("not a map")
    kind = fields.get("type")
    kind = kind if isinstance(kind, str) else "unknown"
    payload, attachments = fields.pop("payload", None), fields.pop("attachments", None)
    attachment = fields.pop("attachment", None)
    fields = visitor.frame(fields)
    if payload is not None:
        content = payload.encode() if isinstance(payload, str) else bytes(payload)
        opaque = kind == "attachment_chunk"
        fields["payload"] = visitor.blob(kind, content) if opaque else _json(kind, content, visitor)
    if attachments is not None:
        fields["attachments"] = [_attachment(each, visitor) for each in attachments]
    if attachment is not None:
        fields["attachment"] = _attachment(attachment, visitor)
    return bytes(msgpack.packb(fields))


def _attachment(attachment: object, visitor: Visitor) -> dict[str, Any]:
    if not isinstance(attachment, dict):
        raise TypeError("an attachment is not a map")
    data = attachment.pop("data", None)
    members = visitor.frame(attachment)
    if data is not None:
        content = data.encode() if isinstance(data, str) else bytes(data)
        members["data"] = visitor.blob("attachment", content)
    return members


def _envelope(value: bytes, visitor: Visitor) -> bytes:
    envelope = parse(value)
    lines = [orjson.dumps(visitor.frame(orjson.loads(envelope.header)))]
    for item in envelope.items:
        if item.type in _OPAQUE_ITEMS:
            payload = visitor.blob(item.type, item.payload)
        else:
            payload = _json(item.type, item.payload, visitor)
        header = visitor.frame(orjson.loads(item.header))
        # Without a length, a newline in the payload would end it.
        lines += [orjson.dumps({**header, "type": item.type, "length": len(payload)}), payload]
    return b"\n".join([*lines, b""])


def _json(kind: str, content: bytes, visitor: Visitor) -> bytes:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return visitor.blob(kind, content)
    return orjson.dumps(visitor.document(kind, document))


_FORMATS: Final[Mapping[str, Callable[[bytes, Visitor], bytes]]] = MappingProxyType(
    {"events": _stream_message, "ingest-events": _ingest_message, "envelopes": _envelope}
)
