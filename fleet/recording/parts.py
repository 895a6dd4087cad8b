"""The arrays that a recording's file consists of, as far as they are whole."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO, Final, NamedTuple

# How a msgpack value begins: first byte → how many bytes of length (or number) follow it.
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_TEXTS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_NUMBERS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_BINARIES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_KIND_BYTES: Final = 64


class Part(NamedTuple):
    """One array: ``numbers`` holds what stands between its kind and its body."""

    kind: str
    numbers: tuple[int, ...]
    body: bytes

    @property
    def is_intact(self) -> bool:
        return zlib.crc32(self.body) == self.numbers[-1]


class BrokenPart(Exception):
    """What stands in the file is no whole array; the message says why."""


class PartReader:
    """Reads one array after the other. Nothing is read or allocated that is not there.

    ``position`` is where the next one begins, which is where the last whole one ended.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position >= self.size

    def kind(self) -> tuple[int, str]:
        """The array's length and its kind, which decide what else may be read of it."""
        length = self._prefix(0x90, 0x0F, _ARRAYS, "an array")
        size = self._prefix(0xA0, 0x1F, _TEXTS, "a kind")
        if size > _KIND_BYTES:
            raise BrokenPart("an array has no kind")
        return length, self._bytes(size).decode(errors="replace")

    def number(self) -> int:
        return self._prefix(0x00, 0x7F, _NUMBERS, "a number")

    def body(self, limit: int) -> bytes:
        """Bytes, at most ``limit``; and the array is over."""
        size = self._prefix(None, 0, _BINARIES, "bytes")
        if size > limit:
            raise BrokenPart(f"a block claims {size:,} bytes, more than the {limit:,} allowed")
        body = self._bytes(size)
        self.position = self._file.tell()
        return body

    def rest(self, kind: str, count: int, limit: int) -> Part:
        """What follows the kind: ``count`` numbers, and the body."""
        return Part(kind, tuple(self.number() for _ in range(count)), self.body(limit))

    def _prefix(self, fixed: int | None, mask: int, sizes: dict[int, int], what: str) -> int:
        (first,) = self._bytes(1)
        if fixed is not None and first & ~mask == fixed:
            return first & mask
        if first not in sizes:
            raise BrokenPart(f"not {what} of a recording")
        return int.from_bytes(self._bytes(sizes[first]), "big")

    def _bytes(self, size: int) -> bytes:
        if size > self.size - self._file.tell():
            raise BrokenPart("the file ends in the middle of a block")
        found = self._file.read(size)
        if len(found) < size:
            raise BrokenPart("the file ends in the middle of a block")
        return found
