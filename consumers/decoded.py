"""What the bytes of a message say, as far as they can be read, and where they stop making sense."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import orjson

from consumer_fleet.bootstrap.redaction import REDACTED, without_credentials
from consumer_fleet.capture.envelope import parse
from consumer_fleet.errors import RejectedMessage

# What the messages of the registry's consumers are; of others, the first byte decides.
_FORMATS: Final = {"events": "json", "ingest-events": "msgpack", "envelopes": "envelope"}
_SECRET: Final = re.compile(
    r"authori[sz]ation|cookie|(?:^|[-_])auth$|passw|secret|credential|token|csrf|jwt|\bdsn\b|"
    r"(?:api|private|public|access)[-_]?key|session[-_]?id",
    re.IGNORECASE,
)
_MAX_DEPTH: Final = 50
_PREVIEW_BYTES: Final = 200
# What msgpack raises for bytes that it did not make.
_MSGPACK_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    msgpack.UnpackException,
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """``content`` is plain data fit for JSON, secrets redacted; None where nothing is readable.

    ``damage`` says what is wrong with the bytes, and ``position`` at which of them, where known.
    """

    format: str
    content: Any
    damage: str | None = None
    position: int | None = None


def decode_bytes(value: bytes | None, consumer: str | None) -> Decoded:
    """Read a message's value. Never raises: damage is a part of the answer."""
    if value is None:
        return Decoded("tombstone", None)
    if not value:
        return Decoded("empty", None)
    kind = _FORMATS.get(consumer or "") or _guess(value)
    reader = {"json": _json, "msgpack": _msgpack, "envelope": _envelope}[kind]
    return reader(value)


def _guess(value: bytes) -> str:
    if value[:1] not in (b"{", b"["):
        return "msgpack" if value[0] >= 0x80 else "json"
    line, separator, rest = value.partition(b"\n")
    if separator and rest and _json(line).damage is None and _json(value).damage is not None:
        return "envelope"
    return "json"


def _json(value: bytes) -> Decoded:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        what = f"byte {error.start} is not UTF-8 ({error.reason})"
        return Decoded("json", None, what, error.start)
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        position = len(text[: error.pos].encode())
        return Decoded("json", None, f"not JSON from byte {position} on: {error.msg}", position)
    return Decoded("json", redacted(content))


def _msgpack(value: bytes) -> Decoded:
    """A map is read member by member, so that what stands before the damage is shown."""
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        unicode_errors="backslashreplace",
        max_buffer_size=max(len(value), 1),
    )
    unpacker.feed(value)
    content: Any = None
    try:
        if value[0] & 0xF0 == 0x80 or value[0] in (0xDE, 0xDF):
            size = unpacker.read_map_header()
            content = {}
            for _ in range(size):
                key = unpacker.unpack()
                content[str(key)] = unpacker.unpack()
        else:
            content = unpacker.unpack()
    except _MSGPACK_ERRORS as error:
        position = unpacker.tell()
        why = "it ends too early" if isinstance(error, msgpack.OutOfData) else str(error)
        what = f"not MessagePack from byte {position} on: {why or type(error).__name__}"
        return Decoded("msgpack", redacted(content) if content else None, what, position)
    position = unpacker.tell()
    if position < len(value):
        what = f"{len(value) - position:,} bytes follow the MessagePack value at byte {position}"
        # A lone number before the damage is the damage itself, misread.
        shown = redacted(content) if isinstance(content, dict | list) else None
        return Decoded("msgpack", shown, what, position)
    return Decoded("msgpack", redacted(content))


def _envelope(value: bytes) -> Decoded:
    header = _json(value.partition(b"\n")[0])
    try:
        envelope = parse(value)
    except RejectedMessage as error:
        content = None if header.damage is not None else {"header": header.content}
        return Decoded("envelope", content, error.detail or error.reason, header.position)
    items = [
        {
            "header": _json(item.header).content,
            "size": len(item.payload),
            "payload": redacted(item.payload),
        }
        for item in envelope.items
    ]
    return Decoded("envelope", {"header": header.content, "items": items})


def redacted(content: Any, depth: int = 0) -> Any:
    """Plain data without what may be a credential; bytes as what is in them, or how they begin."""
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(content, dict):
        return {
            str(name): _redacted_member(str(name), item, depth) for name, item in content.items()
        }
    if isinstance(content, list | tuple):
        return _redacted_list(content, depth)
    return _redacted_scalar(content, depth)


def _redacted_list(content: Sequence[Any], depth: int) -> list[Any]:
    # As Sentry's events hold the headers of a request: pairs of a name and a value.
    if len(content) == 2 and isinstance(content[0], str) and isinstance(content[1], str):
        return [content[0], _redacted_member(content[0], content[1], depth)]
    return [redacted(item, depth + 1) for item in content]


def _redacted_scalar(content: Any, depth: int) -> Any:
    if isinstance(content, bytes):
        return _bytes(content, depth)
    if isinstance(content, str):
        return without_credentials(content)
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)  # MessagePack has them, JSON does not
    if content is None or isinstance(content, bool | int | float):
        return content
    # An extension type or a timestamp of MessagePack.
    return repr(content)


def is_secret(name: str) -> bool:
    """Whether the name says that its value may be a credential."""
    return _SECRET.search(name) is not None


def _redacted_member(name: str, item: Any, depth: int) -> Any:
    if is_secret(name) and item not in (None, "", [], {}):
        return REDACTED
    return redacted(item, depth + 1)


def _bytes(data: bytes, depth: int) -> Any:
    if data[:1] in (b"{", b"["):
        inner = _json(data)
        if inner.damage is None:
            return redacted(inner.content, depth + 1)
    try:
        text = data[:_PREVIEW_BYTES].decode()
    except UnicodeDecodeError:
        return f"<{len(data):,} bytes: {data[:16].hex(' ')}{' …' if len(data) > 16 else ''}>"
    return without_credentials(text) + ("…" if len(data) > _PREVIEW_BYTES else "")
