"""Recognize images that a browser may show: by their bytes, never by the sender's word.

No SVG: it may contain scripts. No image of more pixels than a large screen has by far: a few
kilobytes can decode to gigabytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

_MAX_PIXELS: Final = 50_000_000
_PNG: Final = b"\x89PNG\r\n\x1a\n"

_Size = tuple[int, int]


def image_type(payload: bytes) -> str | None:
    """The media type; None for anything but a PNG, JPEG, GIF or WebP of a usual size."""
    for media_type, read_size in _READERS:
        try:
            size = read_size(payload)
        except (struct.error, IndexError):  # truncated
            size = None
        if size is not None:
            width, height = size
            return media_type if 0 < width * height <= _MAX_PIXELS else None
    return None


def _png(payload: bytes) -> _Size | None:
    if not payload.startswith(_PNG) or payload[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", payload, 16)
    return width, height


def _gif(payload: bytes) -> _Size | None:
    if payload[:6] not in (b"GIF87a", b"GIF89a"):
        return None
    width, height = struct.unpack_from("<HH", payload, 6)
    return width, height


def _webp(payload: bytes) -> _Size | None:
    if payload[:4] != b"RIFF" or payload[8:12] != b"WEBP":
        return None
    kind = payload[12:16]
    if kind == b"VP8X":
        width_low, width_high, height_low, height_high = struct.unpack_from("<HBHB", payload, 24)
        return width_low + (width_high << 16) + 1, height_low + (height_high << 16) + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", payload, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", payload, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(payload: bytes) -> _Size | None:
    if not payload.startswith(b"\xff\xd8"):
        return None
    at = 2
    while payload[at] == 0xFF:
        marker = payload[at + 1]
        # The frame's header; the other markers of this range are tables.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", payload, at + 5)
            return width, height
        (length,) = struct.unpack_from(">H", payload, at + 2)
        at += 2 + length
    return None


_READERS: Final[tuple[tuple[str, Callable[[bytes], _Size | None]], ...]] = (
    ("image/png", _png),
    ("image/jpeg", _jpeg),
    ("image/gif", _gif),
    ("image/webp", _webp),
)
