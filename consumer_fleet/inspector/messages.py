"""Makes entries of Kafka messages: decoded by their consumer's codec, or shown as they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import structlog

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Decode, RawMessage, Skipped
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.inspector.description import one_line
from consumer_fleet.inspector.entry import MAX_ITEMS, DeadLetter, NewEntry, Origin
from consumer_fleet.kafka.chunk import Record

log = structlog.get_logger(__name__)

# The codec of what came from a topic; None where none is known.
FindDecode: TypeAlias = Callable[[str], Decode | None]

_DETAIL_CHARS = 1000


def entry_of(topic: str, partition: int, record: Record, decode: Decode) -> NewEntry:
    """One message of a topic. Never raises for what is in it."""
    message = RawMessage(topic, partition, record.offset, record.timestamp_ms, record.value)
    origin = Origin(topic, partition, record.offset, record.timestamp_ms)
    return _decoded(message, decode, origin, None)


def dead_letter_entry(
    topic: str, partition: int, record: Record, find_decode: FindDecode
) -> NewEntry:
    """One message of a dead letter topic, decoded as it was before it was first rejected.

    Its origin is its place in the dead letter topic; where it was before is in ``dead_letter``.
    """
    origin = Origin(topic, partition, record.offset, record.timestamp_ms)
    restored = restore(record.headers)
    if restored is None:
        why = "no dead letter: the dlq.* headers are missing"
        return _undecodable(record.value, why, origin, None)
    last, first = restored.last, restored.origin
    letter = DeadLetter(
        reason=one_line(last.reason),
        detail=one_line(last.detail, _DETAIL_CHARS),
        group=one_line(last.group),
        topic=one_line(last.topic),
        partition=last.partition,
        offset=last.offset,
    )
    decode = find_decode(first.topic)
    if decode is None:
        why = f"no codec is known for {first.topic!r}: name one with --consumer"
        return _undecodable(record.value, why, origin, letter)
    message = RawMessage(
        first.topic, first.partition, first.offset, first.timestamp_ms, record.value
    )
    return _decoded(message, decode, origin, letter)


def _decoded(
    message: RawMessage, decode: Decode, origin: Origin, letter: DeadLetter | None
) -> NewEntry:
    try:
        decoded = decode(message)
    except RejectedMessage as error:
        return _undecodable(message.value, str(error), origin, letter)
    except Exception as error:  # whatever a codec does, reading goes on
        log.exception("codec_error", topic=message.topic, offset=message.offset)
        why = f"codec_error: {type(error).__name__}"
        return _undecodable(message.value, why, origin, letter)
    if isinstance(decoded, Skipped):
        return _undecodable(message.value, f"filtered: {decoded.reason}", origin, letter)
    if len(decoded.items) > MAX_ITEMS:
        why = f"too many items: {len(decoded.items)}, of which {MAX_ITEMS} can be shown"
        return _undecodable(message.value, why, origin, letter)
    return NewEntry(
        as_bytes(decoded), decoded, _received_at(origin), origin=origin, dead_letter=letter
    )


def as_bytes(envelope: Envelope) -> bytes:
    """The envelope without a destination: neither ``dsn`` nor ``sent_at``."""
    lines = [envelope.header]
    for item in envelope.items:
        lines += (item.header, item.payload)
    return b"\n".join([*lines, b""])


def _undecodable(
    value: bytes | None, why: str, origin: Origin, letter: DeadLetter | None
) -> NewEntry:
    return NewEntry(
        value or b"",
        None,
        _received_at(origin),
        origin=origin,
        dead_letter=letter,
        undecodable=one_line(why, _DETAIL_CHARS),
    )


def _received_at(origin: Origin) -> float:
    """When the broker got it; where it does not say, now."""
    return time.time() if origin.timestamp_ms is None else origin.timestamp_ms / 1000
