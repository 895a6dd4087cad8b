"""Sentry envelopes as frames, so that payloads and unknown attributes pass byte for byte.

An envelope is a JSON header line, then items: a JSON header line each, and a payload that is
``length`` bytes long or ends with its line (https://develop.sentry.dev/sdk/envelopes/). Payloads
are never parsed here. Only two members of the envelope's own header ever change, ``dsn`` and
``sent_at``, because each destination gets its own; they are cut out of the line by position, so
that all others keep their spelling, their order and their duplicates.
"""

from __future__ import annotations

import importlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Final, Literal, NamedTuple, TypeAlias

import orjson
from isal import isal_zlib

from consumer_fleet.errors import ConfigurationError, RejectedMessage

Compression: TypeAlias = Literal["auto", "none", "gzip", "zstd", "br"]

_GZIP_WINDOW_BITS: Final = 31  # zlib's way of asking for gzip's header and trailer
# The fastest useful levels: the network is rarely slower than a higher level of compression.
_GZIP_LEVEL: Final = 1
_ZSTD_LEVEL: Final = 1
_BROTLI_QUALITY: Final = 1
_NEWLINE: Final = 0x0A
_EMPTY_HEADER: Final = b"{}"
_NO_MEMBERS: Final[Mapping[str, object]] = MappingProxyType({})

_HEX_DIGITS: Final = "0123456789abcdef"
_STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
# A member without the comma before it. Its value is a string, a scalar, or the opening bracket of
# a nested value, whose end _end_of_nested finds.
_MEMBER = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*(?:" + _STRING + rb'|[^\s,\[\]{}"]+|[\[{])')
_NESTING = re.compile(_STRING + rb"|[\[\]{}]")
_SPACE = re.compile(rb"\s*")
_COMMA: Final = 0x2C
_CUT_MEMBERS: Final = ("dsn", "sent_at")
# How those members nearly always begin.
_PLAIN_STARTS: Final = {name: f'"{name}":"'.encode() for name in _CUT_MEMBERS}


# Named tuples: they are made for each message, and a frozen dataclass takes three times as long.
class Item(NamedTuple):
    """One item: its header line verbatim (without the newline), its type, and its payload."""

    header: bytes
    type: str
    payload: bytes


class Envelope(NamedTuple):
    """An envelope without ``dsn`` and ``sent_at``.

    ``header`` is a JSON object: either ``{}``, or it starts with a brace and has members.
    ``event_id`` is the header's, as 32 lower-case hex digits; None where it has none or a bad one.
    ``final_newline``: its last line ends with one, which is optional. ``project_id`` is what it is
    routed by, where ``projects`` are configured.
    """

    header: bytes
    event_id: str | None
    items: tuple[Item, ...]
    final_newline: bool = True
    project_id: int | None = None


class InternalEnvelope(Envelope):
    """An envelope of the internal project, which the transport keeps from saas."""

    __slots__ = ()


def parse(raw: bytes, max_items: int = sys.maxsize) -> Envelope:
    """Split an envelope into its frames.

    Raises RejectedMessage("invalid_envelope"), whose detail says what is wrong and where.
    """
    end = raw.find(b"\n")
    size = len(raw)
    if end < 0:
        end = size
    line = raw[:end]
    members = _load_object(line, None)
    event_id = members.get("event_id")
    items: list[Item] = []
    position = end + 1
    while position < size:
        if raw[position] == _NEWLINE:  # blank lines between items and at the end mean nothing
            position += 1
            continue
        if len(items) >= max_items:
            raise _invalid(f"it has more than {max_items} items")
        item, position = _parse_item(raw, position, len(items))
        items.append(item)
    if not members:
        line = _EMPTY_HEADER
    elif "dsn" in members or "sent_at" in members:
        line = _without_destination(line, members)
    else:
        line = line.strip()
    known = None if event_id is None else normalize_event_id(event_id)
    # Behind a last line without a newline, the next one would begin beyond the end.
    return Envelope(line, known, tuple(items), position <= size)


def build(
    event_id: str | None,
    items: Iterable[Item],
    header: Mapping[str, object] = _NO_MEMBERS,
) -> Envelope:
    """Build an envelope without ``dsn`` and ``sent_at``, which destinations add."""
    members: dict[str, object] = {} if event_id is None else {"event_id": event_id}
    members |= {
        key: value
        for key, value in header.items()
        if key not in members and key not in ("dsn", "sent_at")
    }
    known = normalize_event_id(members.get("event_id"))
    return Envelope(orjson.dumps(members), known, tuple(items))


def make_item(type: str, payload: bytes, **attributes: object) -> Item:  # noqa: A002 - the header's own name
    """An item whose header has ``type``, ``length`` and the given attributes."""
    header = orjson.dumps({"type": type, **attributes, "length": len(payload)})
    return Item(header, type, payload)


def with_payload(item: Item, payload: bytes) -> Item:
    """A copy of an item of ``make_item``, with another payload."""
    header = orjson.dumps({**orjson.loads(item.header), "length": len(payload)})
    return item._replace(header=header, payload=payload)


def with_event_id(envelope: Envelope, event_id: str) -> Envelope:
    """A copy whose header names ``event_id``; the other members keep their bytes."""
    kept = _without_members(envelope.header, ("event_id",))
    header = _prepend(b'{"event_id":' + orjson.dumps(event_id), kept)
    return envelope._replace(header=header, event_id=normalize_event_id(event_id))


def with_origin(envelope: Envelope, topic: str, partition: int, offset: int) -> Envelope:
    """A copy whose header has a member ``kafka``: the message's topic, partition and offset.

    Envelope headers may have custom members; servers that do not know them keep them as they are.
    """
    kept = _without_members(envelope.header, ("kafka",))
    origin = {"topic": topic, "partition": partition, "offset": offset}
    return envelope._replace(header=_prepend(b'{"kafka":' + orjson.dumps(origin), kept))


def serialize(envelope: Envelope, *, dsn: str, sent_at: str) -> bytes:
    """The envelope's bytes for one destination. ``sent_at`` is an RFC 3339 time in UTC."""
    return serialize_after(destination_members(dsn, sent_at), envelope)


def destination_members(dsn: str, sent_at: str) -> bytes:
    """The start of a header line for ``serialize_after``: the same for many envelopes."""
    return b'{"dsn":' + orjson.dumps(dsn) + b',"sent_at":' + orjson.dumps(sent_at)


def members_at(second: int, dsn: str, mark: bytes) -> bytes:
    """``destination_members`` at that second, and the destination's mark."""
    sent_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
    return destination_members(dsn, sent_at) + b"," + mark + b":true"


def serialize_after(members: bytes, envelope: Envelope) -> bytes:
    """Like ``serialize``, with the result of ``destination_members``."""
    header = envelope.header
    # Not by ``_prepend``: it runs for each request.
    lines = [members + b"}" if header == _EMPTY_HEADER else b"%b,%b" % (members, header[1:])]
    for item in envelope.items:
        lines.append(item.header)
        lines.append(item.payload)
    if envelope.final_newline:
        lines.append(b"")
    return b"\n".join(lines)


def normalize_event_id(event_id: object) -> str | None:
    """``event_id`` as 32 lower-case hex digits, or None where it isn't a UUID."""
    if not isinstance(event_id, str):
        return None
    # Stripping is the cheapest way to see that there are no other characters.
    if len(event_id) == 32 and not event_id.strip(_HEX_DIGITS):
        return event_id
    digits = event_id.replace("-", "").lower()
    return digits if len(digits) == 32 and not digits.strip(_HEX_DIGITS) else None


def _parse_item(raw: bytes, start: int, index: int) -> tuple[Item, int]:
    """The item whose header line begins at ``start``, and where the next one begins."""
    end = raw.find(b"\n", start)
    if end < 0:
        end = len(raw)
    line = raw[start:end]
    members = _load_object(line, index)
    item_type = members.get("type")
    if not isinstance(item_type, str):
        raise _invalid(f"the header of item {index} has no type")
    length = members.get("length")
    payload_start = end + 1
    if length is None:
        payload_end = raw.find(b"\n", payload_start)
        if payload_end < 0:
            payload_end = max(len(raw), payload_start)
    else:
        payload_end = _end_of_payload(raw, payload_start, length, index)
    return Item(line, item_type, raw[payload_start:payload_end]), payload_end + 1


def _end_of_payload(raw: bytes, start: int, length: object, index: int) -> int:
    if type(length) is not int or length < 0:
        shown = (
            repr(length)[:40] if isinstance(length, str | int | float) else type(length).__name__
        )
        raise _invalid(f"the length of item {index} is {shown}, not a number of bytes")
    end = start + length
    available = max(len(raw) - start, 0)
    if length > available:
        raise _invalid(f"item {index} announces {length} bytes, but only {available} follow")
    if end < len(raw) and raw[end] != _NEWLINE:
        raise _invalid(f"no newline follows the {length} bytes of item {index}")
    return end


def _load_object(line: bytes, item_index: int | None) -> dict[str, object]:
    """Parse a header line: the envelope's if ``item_index`` is None."""
    try:
        members = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"{_name_header(item_index)} is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise _invalid(f"{_name_header(item_index)} is not a JSON object")
    return members


def _name_header(item_index: int | None) -> str:
    return "the envelope's header" if item_index is None else f"the header of item {item_index}"


def _invalid(detail: str) -> RejectedMessage:
    return RejectedMessage("invalid_envelope", detail)


def _prepend(members: bytes, header: bytes) -> bytes:
    """``members`` is an object that is not closed yet; ``header`` supplies the rest of it."""
    if header == _EMPTY_HEADER:
        return members + b"}"
    return members + b"," + header[1:]


def _without_destination(line: bytes, members: Mapping[str, object]) -> bytes:
    """Cut ``dsn`` and ``sent_at`` out of a line whose parsed ``members`` are given."""
    rest: bytes | None = line
    for name, start in _PLAIN_STARTS.items():
        if rest is not None and name in members:
            rest = _without_plain_member(rest, start)
    return _without_members(line, _CUT_MEMBERS) if rest is None else rest.strip()


def _without_plain_member(line: bytes, start: bytes) -> bytes | None:
    """Cut one member and a comma beside it; None if its spelling needs a real parser.

    ``start`` is its name, a colon and the quote that opens its value. Without escapes, a name that
    is a top-level key and occurs once is that key.
    """
    position = line.find(start)
    if position < 0 or line.count(start[:-2]) != 1 or b"\\" in line:
        return None
    end = line.find(b'"', position + len(start)) + 1
    if line[end] == _COMMA:
        return line[:position] + line[end + 1 :]
    if line[position - 1] == _COMMA:
        return line[: position - 1] + line[end:]
    return None


def _without_members(line: bytes, names: tuple[str, ...]) -> bytes:
    """Cut top-level members out of a line that holds a JSON object.

    Names are compared after unescaping: ``"d\\u0073n"`` is a ``dsn`` to every JSON parser.
    """
    line = line.strip()
    kept: list[bytes] = []
    position = 1
    while member := _MEMBER.match(line, position):
        end = member.end()
        if line[end - 1] in b"[{":
            end = _end_of_nested(line, end)
        space = _SPACE.match(line, end)
        assert space is not None  # the pattern matches the empty string too
        end = space.end()
        if orjson.loads(member[1]) not in names:
            kept.append(line[position:end])
        position = end + 1  # after the comma, or after the object's end
    return b"{" + b",".join(kept) + b"}"


def _end_of_nested(line: bytes, position: int) -> int:
    """The end of the array or object whose opening bracket is just before ``position``."""
    depth = 1
    while depth:
        token = _NESTING.search(line, position)
        assert token is not None  # brackets pair up: the line was parsed before
        position = token.end()
        if token[0] in (b"[", b"{"):
            depth += 1
        elif token[0] in (b"]", b"}"):
            depth -= 1
    return position


@dataclass(frozen=True, slots=True)
class Compressor:
    """``encoding`` is the value of Content-Encoding; None leaves bodies as they are."""

    encoding: str | None
    compress: Callable[[bytes], bytes]


def choose_compressor(compression: Compression, scheme: str) -> Compressor:
    """Return the compressor. ``auto`` is gzip for https and none for http, whose server is mostly
    on the same machine or rack.

    Raises ConfigurationError for an encoding whose package is not installed.
    """
    if compression == "auto":
        compression = "gzip" if scheme == "https" else "none"
    if compression == "none":
        return Compressor(None, _unchanged)
    if compression == "gzip":
        return Compressor("gzip", _gzip)
    if compression == "zstd":
        # Imported only when it is chosen: most workers don't need it.
        package = importlib.import_module("zstandard")
        return Compressor("zstd", package.ZstdCompressor(level=_ZSTD_LEVEL).compress)
    if compression == "br":
        brotli = _import_brotli()
        return Compressor("br", partial(brotli.compress, quality=_BROTLI_QUALITY))
    raise ConfigurationError(
        f"compression {compression!r} is unknown; expected auto, none, gzip, zstd or br"
    )


def _unchanged(body: bytes) -> bytes:
    return body


def _gzip(body: bytes) -> bytes:
    # ISA-L's: half the time of zlib's for a small body, a fifth for a large one, and no larger.
    return isal_zlib.compress(body, _GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS)


def _import_brotli() -> ModuleType:
    try:
        return importlib.import_module("brotli")
    except ImportError as error:
        raise ConfigurationError(
            "compression 'br' needs the package 'brotli': pip install 'consumer-fleet[br]'"
        ) from error
