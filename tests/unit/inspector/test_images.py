"""Images are recognized by their bytes, and those that are dangerous to decode are not shown."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from consumer_fleet.inspector.images import image_type


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(9)


def jpeg(width: int, height: int) -> bytes:
    table = b"\xff\xc4" + struct.pack(">H", 4) + b"ab"
    return b"\xff\xd8" + table + b"\xff\xc0" + struct.pack(">HBHH", 17, 8, height, width)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def webp(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + size


@pytest.mark.parametrize("make", [png, jpeg, gif, webp])
def test_an_image_is_known_by_its_bytes_unless_it_is_huge_or_cut(
    make: Callable[[int, int], bytes],
) -> None:
    assert image_type(make(640, 480)) == f"image/{make.__name__}"
    assert image_type(make(16_383, 16_383)) is None
    assert image_type(make(640, 480)[: 8 if make in (gif, jpeg) else 22]) is None


@pytest.mark.parametrize(
    "payload", [b"", b"<svg onload=alert(1)>", b"\xff\xd8", b"\xff\xd8\xff", b"x"]
)
def test_anything_else_is_not_an_image(payload: bytes) -> None:
    assert image_type(payload) is None
