"""What every codec does first: a message's bytes, and JSON out of bytes."""

from __future__ import annotations

import orjson

from consumer_fleet.codec import RawMessage
from consumer_fleet.errors import RejectedMessage


def value_of(message: RawMessage) -> bytes:
    """The message's value. A tombstone and an empty value are rejected: neither is an event."""
    if message.value is None:
        raise RejectedMessage("tombstone", "the message has a null value")
    if not message.value:
        raise RejectedMessage("empty", "the message's value has no bytes")
    return message.value


def load_json(raw: bytes, what: str) -> object:
    """Parse JSON; ``what`` names it in the rejection ("the payload", …).

    Integers beyond 64 bits become floats, as they do in Relay.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RejectedMessage("invalid_json", f"{what}: {error}") from error


def dump_json(value: object, what: str) -> bytes:
    """Serialise what ``load_json`` gave."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        # More levels can be read than written; no upstream takes that many either.
        raise RejectedMessage("invalid_json", f"{what}: {error}") from error


def brief(value: object) -> str:
    """A value in a rejection's detail: itself where it is short and flat, else its type."""
    if value is None or isinstance(value, str | int | float):
        return repr(value)[:100]
    return f"of type {type(value).__name__}"
