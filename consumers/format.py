"""The interface of a message format: everything that is known of the messages of one topic.

A consumer's file has one subclass. ``JsonFormat`` and ``MsgpackFormat`` here, and ``RawEnvelopes``
in ``envelopes.py``, have defaults for everything: a simple topic overrides ``to_envelope``, or
nothing but a class attribute.
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NoReturn, Protocol, TypeAlias, final

import msgpack
import msgspec
import orjson

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Envelope, build, make_item, normalize_event_id
from consumer_fleet.codec import Decoded, RawMessage, Skipped
from consumer_fleet.consumers.finders import (
    Finder,
    ProjectFinder,
    as_project_id,
    decode_project_member,
)
from consumer_fleet.consumers.view import ReadableValue, read_json, read_msgpack
from consumer_fleet.errors import RejectedMessage

JsonObject: TypeAlias = dict[str, Any]


class Visitor(Protocol):
    """Sees each part of a message and returns its replacement; it may change the part itself."""

    def frame(self, members: JsonObject) -> JsonObject:
        """The members around the payloads: a row, an envelope's or an item's header."""

    def document(self, kind: str, document: Any) -> Any:
        """A JSON payload; ``kind`` is its item's type."""

    def blob(self, kind: str, content: bytes) -> bytes:
        """A payload that is not JSON."""


class FormatOptions(Protocol):
    """The program's options that formats have a use for."""

    @property
    def check_in_max_age_s(self) -> float: ...

    @property
    def dsns(self) -> Sequence[Dsn]: ...


class UnreadableMessage(Exception):
    """The value does not have its consumer's format."""


class MessageFormat(ABC):
    """One format. Instances have no state beside options; ``decode`` pickles into workers."""

    #: The demonstration's messages: a topic of sentry-kafka-schemas, or the messages themselves.
    examples: ClassVar[str | Sequence[Any]] = ()
    #: The topic of sentry-kafka-schemas whose schema the messages have, if there is one.
    schema: ClassVar[str | None] = None

    def with_options(self, options: FormatOptions) -> MessageFormat:
        """This format as the options want it. Called in the worker, once."""
        return self

    #: ``decode`` may return a Fragment or an Incomplete: an envelope is spread over messages.
    assembles: ClassVar[bool] = False

    @abstractmethod
    def decode(self, message: RawMessage) -> Decoded:
        """The message as an envelope, or Skipped if it is left out on purpose.

        Runs in workers, does no I/O, and gives the same message the same event id. Raises
        RejectedMessage with a short fixed reason.
        """

    @abstractmethod
    def rebuild(self, value: bytes, visitor: Visitor) -> bytes:
        """Take the value apart, show each part to the visitor, and put it together again.

        Whatever the visitor does not change keeps its meaning, not its spelling. May raise
        anything that parsers raise; callers use ``visit``.
        """

    @abstractmethod
    def with_event_id(self, value: bytes, event_id: str) -> bytes:
        """Add an event id to a readable value that has none."""

    @abstractmethod
    def view(self, value: bytes) -> ReadableValue:
        """Read a value that is not empty for a person or a filter. Never raises."""

    def fresh_example(self, example: Any) -> bytes:
        """One of ``examples`` with a new event id and the present time."""
        return bytes(example)

    @final
    def visit(self, value: bytes, visitor: Visitor) -> bytes:
        """Return the value as the visitor changes it. Raises UnreadableMessage."""
        try:
            return self.rebuild(value, visitor)
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
            OverflowError,
            msgpack.UnpackException,
            RejectedMessage,
        ) as error:
            raise UnreadableMessage(str(error)[:200]) from error

    @final
    def event_of(self, value: bytes | None) -> Any:
        """The event in a message, else its first JSON payload; None if it has neither."""
        finder = Finder()
        try:
            self.visit(value or b"", finder)
        except UnreadableMessage:
            return None
        return finder.event if finder.event is not None else finder.first

    def project_of(self, message: RawMessage) -> int | None:
        """The id of the project that the message belongs to, where it names one. Never raises."""
        finder = ProjectFinder()
        with suppress(UnreadableMessage):
            self.visit(message.value or b"", finder)
        return finder.project_id

    def key_of(self, message: RawMessage) -> str | None:
        """The public key that the message was sent with, where it names one. Never raises."""
        return None

    @final
    def with_new_event_id(self, value: bytes) -> bytes:
        """The value, with a new event id if ``decode`` would derive one from its position.

        Raises UnreadableMessage for a value that ``decode`` rejects.
        """
        # No message has this position: the id that is derived from it is a new one.
        message = RawMessage(uuid.uuid4().hex, 0, 0, None, value)
        try:
            decoded = self.decode(message)
        except RejectedMessage as error:
            raise UnreadableMessage(error.reason) from error
        new = message.derived_event_id()
        if not isinstance(decoded, Envelope) or decoded.event_id != new:
            return value
        return self.with_event_id(value, new)


class JsonFormat(MessageFormat):
    """Messages that are a JSON object: by default, the payload of one item."""

    item_type: ClassVar[str] = "event"

    def decode(self, message: RawMessage) -> Envelope | Skipped:
        document = load_json(value_of(message), "the message")
        if not isinstance(document, dict):
            raise RejectedMessage("invalid_message", "the message is not a JSON object")
        return self.to_envelope(document, message)

    def to_envelope(self, document: JsonObject, message: RawMessage) -> Envelope | Skipped:
        """Return the result of ``decode`` for a message that is a JSON object."""
        event_id = event_id_of(document, message)
        payload = dump_json({**document, "event_id": event_id}, "the message")
        return build(event_id, (make_item(self.item_type, payload),))

    def rebuild(self, value: bytes, visitor: Visitor) -> bytes:
        return orjson.dumps(visitor.document(self.item_type, orjson.loads(value)))

    def with_event_id(self, value: bytes, event_id: str) -> bytes:
        return orjson.dumps(orjson.loads(value) | {"event_id": event_id})

    def view(self, value: bytes) -> ReadableValue:
        return read_json(value)

    def fresh_example(self, example: Any) -> bytes:
        return orjson.dumps(fresh_event(example))


class MsgpackFormat(MessageFormat):
    """Messages that are a MessagePack map, as Relay writes them: by default, ``payload`` is one
    item's JSON and ``event_id`` is beside it.
    """

    item_type: ClassVar[str] = "event"

    def decode(self, message: RawMessage) -> Decoded:
        return self.to_envelope(unpack(value_of(message)), message)

    def to_envelope(self, fields: JsonObject, message: RawMessage) -> Envelope | Skipped:
        """Return the result of ``decode`` for a message that is a map."""
        payload = bytes_of(fields, "payload")
        return build(event_id_of(fields, message), (make_item(self.item_type, payload),))

    def project_of(self, message: RawMessage) -> int | None:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            found = as_project_id(decode_project_member(message.value or b"").project_id)
            if found is not None:
                return found
        return super().project_of(message)

    def rebuild(self, value: bytes, visitor: Visitor) -> bytes:
        fields = msgpack.unpackb(value, raw=False, max_ext_len=0)
        if not isinstance(fields, dict):
            raise TypeError("not a map")
        return bytes(msgpack.packb(self.rebuild_fields(fields, visitor)))

    def rebuild_fields(self, fields: JsonObject, visitor: Visitor) -> JsonObject:
        """``rebuild`` of the map; ``type`` is the kind of the payload where a message has one."""
        kind = fields.get("type")
        payload = fields.pop("payload", None)
        fields = visitor.frame(fields)
        if payload is not None:
            content = payload.encode() if isinstance(payload, str) else bytes(payload)
            kind = kind if isinstance(kind, str) else self.item_type
            fields["payload"] = visit_payload(kind, content, visitor)
        return fields

    def with_event_id(self, value: bytes, event_id: str) -> bytes:
        fields = msgpack.unpackb(value)
        payload = json_object(fields.get("payload") or b"")
        # The consumer reads the id of the map; the payload's, if it has one, is of the same event.
        known = None if payload is None else normalize_event_id(payload.get("event_id"))
        fields["event_id"] = known or event_id
        if payload is not None and known is None:
            fields["payload"] = orjson.dumps(payload | {"event_id": event_id})
        return bytes(msgpack.packb(fields))

    def view(self, value: bytes) -> ReadableValue:
        return read_msgpack(value)

    def fresh_example(self, example: Any) -> bytes:
        event = fresh_event(orjson.loads(example["payload"]))
        fields = {
            **example,
            "payload": orjson.dumps(event),
            "event_id": event["event_id"],
            "start_time": int(event["timestamp"]),
        }
        return bytes(msgpack.packb(fields))


# -- Helpers for formats ---------------------------------------------------------------------------


def value_of(message: RawMessage) -> bytes:
    """The message's value. A tombstone and an empty value are rejected: neither is an event."""
    if message.value is None:
        raise RejectedMessage("tombstone", "the message has a null value")
    if not message.value:
        raise RejectedMessage("empty", "the message's value has no bytes")
    return message.value


def event_id_of(members: JsonObject, message: RawMessage) -> str:
    """The ``event_id`` of the members, else the one that is derived from the message's position."""
    return normalize_event_id(members.get("event_id")) or message.derived_event_id()


def load_json(raw: bytes, subject: str) -> object:
    """Parse JSON; ``subject`` names it in the rejection ("the payload", …).

    Integers beyond 64 bits become floats, as they do in Relay.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RejectedMessage("invalid_json", f"{subject}: {error}") from error


def dump_json(value: object, subject: str) -> bytes:
    """Serialise a value that ``load_json`` returned."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        # More levels can be read than written; no upstream takes that many either.
        raise RejectedMessage("invalid_json", f"{subject}: {error}") from error


def unpack(raw: bytes) -> JsonObject:
    """A MessagePack map. Strings must be UTF-8 and keys strings; no length may exceed the
    message's own.
    """
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


def bytes_of(fields: JsonObject, name: str) -> bytes:
    """A member that holds bytes. Raises RejectedMessage if it does not."""
    value = fields.get(name)
    if isinstance(value, str):  # older Relays wrote payloads as strings
        return value.encode()
    if not isinstance(value, bytes):
        raise RejectedMessage("invalid_message", f"{name} is not bytes")
    return value


def brief(value: object) -> str:
    """A value in a rejection's detail: itself where it is short and flat, else its type."""
    if value is None or isinstance(value, str | int | float):
        return repr(value)[:100]
    return f"of type {type(value).__name__}"


def visit_payload(kind: str, content: bytes, visitor: Visitor) -> bytes:
    """Show a payload to the visitor, as JSON if it is JSON."""
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError:
        return visitor.blob(kind, content)
    return orjson.dumps(visitor.document(kind, document))


def json_object(content: bytes) -> JsonObject | None:
    """The JSON object that the bytes are, if they are one."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


# An example has a hundred, and thousands of it are kept in memory.
_EXAMPLE_SPANS: Final = 8


def fresh_event(event: JsonObject) -> JsonObject:
    """An example event as if it had just been sent; a transaction keeps its duration."""
    now = time.time()
    fresh = {**event, "event_id": uuid.uuid4().hex, "timestamp": now, "received": now}
    if "start_timestamp" in event:
        age = now - event["timestamp"]
        fresh["start_timestamp"] = event["start_timestamp"] + age
        spans = (event.get("spans") or [])[:_EXAMPLE_SPANS]
        fresh["spans"] = [_later(span, age) for span in spans]
    return fresh


def _later(span: JsonObject, seconds: float) -> JsonObject:
    times = {name: span[name] + seconds for name in ("start_timestamp", "timestamp")}
    return {**span, **times}


def iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
