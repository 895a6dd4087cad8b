"""A message's bytes as plain data, as far as they can be read, and where they are damaged."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import orjson

from consumer_fleet.capture.envelope import parse
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.printable import REDACTED, without_credentials

_SECRET: Final = re.compile(
    r"authori[sz]ation|cookie|(?:^|[-_])auth$|passw|secret|credential|token|csrf|jwt|\bdsn\b|"
    r"(?:api|private|public|access)[-_]?key|session[-_]?id",
    re.IGNORECASE,
)
_MAX_DEPTH: Final = 50
_PREVIEW_BYTES: Final = 200
# msgpack raises these for bytes that are not MessagePack.
_MSGPACK_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    RecursionError,
    msgpack.UnpackException,
)


@dataclass(frozen=True, slots=True)
class ReadableValue:
    """``content`` is the readable part, possibly with bytes in it; None if nothing is readable.

    ``damage`` says how the bytes are damaged, and ``position`` at which of them, if known.
    """

    encoding: str
    content: Any
    damage: str | None = None
    position: int | None = None

    def redacted(self) -> Any:
        """The content as plain data fit for JSON, without secrets."""
        return _convert(self.content, hide=True)

    def plain(self) -> Any:
        """The content as plain data, with whatever is in it."""
        return _convert(self.content, hide=False)


def read_unknown(value: bytes) -> ReadableValue:
    """Read bytes of an unknown format: their beginning tells which one is tried."""
    if value[:1] not in (b"{", b"["):
        return read_msgpack(value) if value[0] >= 0x80 else read_json(value)
    line, separator, rest = value.partition(b"\n")
    whole = read_json(value)
    if whole.damage is not None and separator and rest and read_json(line).damage is None:
        return read_envelope(value)
    return whole


def read_json(value: bytes) -> ReadableValue:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        damage = f"byte {error.start} is not UTF-8 ({error.reason})"
        return ReadableValue("json", None, damage, error.start)
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        position = len(text[: error.pos].encode())
        return ReadableValue(
            "json", None, f"not JSON from byte {position} on: {error.msg}", position
        )
    return ReadableValue("json", content)


def read_msgpack(value: bytes) -> ReadableValue:
    """A map is read member by member, so that the members before any damage are shown."""
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
        damage = f"not MessagePack from byte {position} on: {why or type(error).__name__}"
        return ReadableValue("msgpack", content or None, damage, position)
    position = unpacker.tell()
    if position < len(value):
        damage = f"{len(value) - position:,} bytes follow the MessagePack value at byte {position}"
        # A lone number before the damage is the damage itself, misread.
        shown = content if isinstance(content, dict | list) else None
        return ReadableValue("msgpack", shown, damage, position)
    return ReadableValue("msgpack", content)


def read_envelope(value: bytes) -> ReadableValue:
    header = read_json(value.partition(b"\n")[0])
    try:
        envelope = parse(value)
    except RejectedMessage as error:
        content = None if header.damage is not None else {"header": header.content}
        return ReadableValue("envelope", content, error.detail or error.reason, header.position)
    items = [
        {
            "header": read_json(item.header).content,
            "size": len(item.payload),
            "payload": item.payload,
        }
        for item in envelope.items
    ]
    return ReadableValue("envelope", {"header": header.content, "items": items})


def is_secret(name: str) -> bool:
    """Whether the name says that its value may be a credential."""
    return _SECRET.search(name) is not None


def _convert(content: Any, *, hide: bool, depth: int = 0) -> Any:
    """Plain data fit for JSON; with ``hide``, without secrets and with bytes cut short."""
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(content, dict):
        return {
            str(name): _member(str(name), item, hide=hide, depth=depth)
            for name, item in content.items()
        }
    if isinstance(content, list | tuple):
        # As Sentry's events hold the headers of a request: pairs of a name and a value.
        if len(content) == 2 and isinstance(content[0], str) and isinstance(content[1], str):
            return [content[0], _member(content[0], content[1], hide=hide, depth=depth)]
        return [_convert(item, hide=hide, depth=depth + 1) for item in content]
    if isinstance(content, bytes):
        return _from_bytes(content, hide=hide, depth=depth)
    return _scalar(content, hide=hide)


def _scalar(content: Any, *, hide: bool) -> Any:
    if isinstance(content, str):
        return without_credentials(content) if hide else content
    if isinstance(content, float) and not math.isfinite(content):
        return str(content)  # MessagePack has them, JSON does not
    if content is None or isinstance(content, bool | int | float):
        return content
    # An extension type or a timestamp of MessagePack.
    return repr(content)


def _member(name: str, item: Any, *, hide: bool, depth: int) -> Any:
    if hide and is_secret(name) and item not in (None, "", [], {}):
        return REDACTED
    return _convert(item, hide=hide, depth=depth + 1)


def _from_bytes(data: bytes, *, hide: bool, depth: int) -> Any:
    """The JSON in the bytes, else their text; if hidden, only the beginning of the text."""
    if data[:1] in (b"{", b"["):
        inner = read_json(data)
        if inner.damage is None:
            return _convert(inner.content, hide=hide, depth=depth + 1)
    if not hide:
        return data.decode(errors="backslashreplace")
    try:
        text = data[:_PREVIEW_BYTES].decode()
    except UnicodeDecodeError:
        return f"<{len(data):,} bytes: {data[:16].hex(' ')}{' …' if len(data) > 16 else ''}>"
    return without_credentials(text) + ("…" if len(data) > _PREVIEW_BYTES else "")
