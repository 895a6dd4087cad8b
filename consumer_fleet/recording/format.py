"""The recording file: its header, its parts, and how both are checked.

The file is a stream of msgpack arrays; docs/recordings.md describes it byte for byte::

    ["consumer-fleet-recording", version, checksum, header]
    ["messages", checksum, zstd(body)]          any number of these blocks
    ["end", checksum, counts]

A checksum is the CRC-32 of the bytes that follow it.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, BinaryIO, Final, NamedTuple

import msgpack
import zstandard

from consumer_fleet.errors import RecordingError
from consumer_fleet.kafka.chunk import Record

MAGIC: Final = "consumer-fleet-recording"
#: To be raised when a reader of this version would misread what is written.
FORMAT_VERSION: Final = 1
MESSAGES: Final = "messages"
END: Final = "end"

#: More than any topic has. A replay through a consumer looks at each of them.
MAX_PARTITIONS: Final = 100_000
_MAX_INT: Final = 2**63 - 1
#: A header or a trailer, as large as a topic with many thousands of partitions needs.
MAX_PART_BYTES: Final = 4 * 1024 * 1024
#: A block with more than one message, unpacked.
MAX_BLOCK_BYTES: Final = 2 * 1024 * 1024
#: A block with one message, unpacked. A whole envelope has 200 MiB at most.
MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """Known at the start of a recording. ``ranges``: partition → first offset, end excluded.

    ``partitions`` is the source topic's count, whichever of them were read. ``consumer`` names the
    message format, if it is known; ``cluster_id`` is the source cluster's. ``others`` keeps members
    that a later version of this program has added.
    """

    topic: str
    partitions: int
    recorded_at_ms: int
    ranges: Mapping[int, tuple[int, int]]
    filter: str | None = None
    scrubbed: bool = False
    limit: int | None = None
    consumer: str | None = None
    cluster_id: str | None = None
    filter_language: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)
    version: int = FORMAT_VERSION


_MEMBERS: Final = frozenset(
    each.name for each in fields(RecordingHeader) if each.name not in ("others", "version")
)


def pack_part(kind: str, body: bytes, *, version: int | None = None) -> bytes:
    """One array of the stream; only the first of a file has a version."""
    head: list[object] = [kind] if version is None else [kind, version]
    return bytes(msgpack.packb([*head, zlib.crc32(body), body]))


def pack_header(header: RecordingHeader) -> bytes:
    """The first bytes of a recording."""
    members = {
        **header.others,
        **{name: getattr(header, name) for name in sorted(_MEMBERS)},
        "ranges": {str(index): list(span) for index, span in header.ranges.items()},
    }
    return pack_part(MAGIC, bytes(msgpack.packb(members)), version=header.version)


def unpack_header(version: int, body: bytes) -> RecordingHeader:
    """The header, whose checksum was right. Raises RecordingError if it is invalid."""
    try:
        members = msgpack.unpackb(body)
        ranges = {int(index): (a, b) for index, (a, b) in members["ranges"].items()}
        known = {name: value for name, value in members.items() if name in _MEMBERS}
        others = {name: value for name, value in members.items() if name not in _MEMBERS}
        header = RecordingHeader(
            **{**known, "ranges": ranges, "others": others, "version": version}
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordingError(f"its header is invalid: {error}") from error
    _check(header)
    return header


def _check(header: RecordingHeader) -> None:
    """A file may come from anywhere: a header with a right checksum may still be nonsense."""
    facts: dict[str, Any] = {name: getattr(header, name) for name in _MEMBERS}
    texts = ("filter", "filter_language", "consumer", "cluster_id")
    offsets = [offset for span in header.ranges.values() for offset in span]
    is_right = {
        "topic": isinstance(facts["topic"], str) and facts["topic"] != "",
        "scrubbed": type(facts["scrubbed"]) is bool,
        "partitions": _is_number(facts["partitions"], 1, MAX_PARTITIONS),
        "recorded_at_ms": _is_number(facts["recorded_at_ms"], 0, _MAX_INT),
        "ranges": all(_is_number(offset, 0, _MAX_INT) for offset in offsets),
        "limit": facts["limit"] is None or _is_number(facts["limit"], 0, _MAX_INT),
        **{name: isinstance(facts[name], str | None) for name in texts},
    }
    wrong = [name for name, right in is_right.items() if not right]
    if wrong:
        raise RecordingError(f"its header is invalid: {', '.join(wrong)}")


def _is_number(value: object, first: int, last: int) -> bool:
    return type(value) is int and first <= value <= last


# How a msgpack value begins: first byte → how many bytes of length (or number) follow it.
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_TEXTS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_NUMBERS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_BINARIES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_KIND_BYTES: Final = 64


class Part(NamedTuple):
    """One array: ``numbers`` are those between its kind and its body."""

    kind: str
    numbers: tuple[int, ...]
    body: bytes

    @property
    def is_intact(self) -> bool:
        return zlib.crc32(self.body) == self.numbers[-1]


class BrokenPart(Exception):
    """The file does not continue with a complete array; the message says why."""


class PartReader:
    """Reads one array after the other, and allocates no more than the file has.

    ``position`` is the start of the next one, and the end of the last complete one.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self.position = 0

    @property
    def at_end(self) -> bool:
        return self.position >= self.size

    def kind(self) -> tuple[int, str]:
        """The array's length and its kind, which decide how to read the rest."""
        length = self._prefix(0x90, 0x0F, _ARRAYS, "an array")
        size = self._prefix(0xA0, 0x1F, _TEXTS, "a kind")
        if size > _KIND_BYTES:
            raise BrokenPart("an array has no kind")
        return length, self._bytes(size).decode(errors="replace")

    def number(self) -> int:
        return self._prefix(0x00, 0x7F, _NUMBERS, "a number")

    def body(self, limit: int) -> bytes:
        """The last element: bytes, at most ``limit``."""
        size = self._prefix(None, 0, _BINARIES, "bytes")
        if size > limit:
            raise BrokenPart(f"a block claims {size:,} bytes, more than the {limit:,} allowed")
        body = self._bytes(size)
        self.position = self._file.tell()
        return body

    def rest(self, kind: str, count: int, limit: int) -> Part:
        """The rest of an array after its kind: ``count`` numbers, and the body."""
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


_FIELDS: Final = len(Record._fields)
_HEADERS: Final = 100_000
# Kafka's numbers have 32 and 64 bits.
_PARTITIONS: Final = 2**31
_OFFSETS: Final = 2**63


def pack_block(messages: Sequence[tuple[int, Record]]) -> bytes:
    """A block's uncompressed body: ``[[partition, [offset, timestamp_ms, key, value,
    [[name, value], …]]], …]``.
    """
    return bytes(msgpack.packb(messages))


def unpack_block(compressed: bytes) -> list[tuple[int, Record]]:
    """The messages. Raises BrokenPart for anything that ``pack_block`` does not produce.

    A file may come from anywhere: the size that a few bytes may expand to is limited.
    """
    try:
        size = zstandard.frame_content_size(compressed)
        if not 0 <= size <= MAX_MESSAGE_BYTES:
            raise BrokenPart(f"a block claims {size:,} bytes, more than a message may have")
        body = zstandard.ZstdDecompressor().decompress(compressed, allow_extra_data=False)
        if len(body) > MAX_BLOCK_BYTES:
            return [_unpack_large(body)]
        found = msgpack.unpackb(body, use_list=False, max_map_len=0, max_ext_len=0)
        return [_checked(partition, *fields) for partition, fields in found]
    except (
        zstandard.ZstdError,
        ValueError,
        TypeError,
        RecursionError,
        msgpack.UnpackException,
    ) as error:
        raise BrokenPart("a block has other contents than messages") from error


def _unpack_large(body: bytes) -> tuple[int, Record]:
    """One message that is larger than a block. Unpacked step by step, since 100 MiB of nested
    empty arrays would be many GiB of objects.
    """
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(body), max_array_len=0, max_map_len=0, max_ext_len=0
    )
    unpacker.feed(body)

    def expect(length: int) -> None:
        if unpacker.read_array_header() != length:
            raise BrokenPart("a block is larger than its messages")

    expect(1)
    expect(2)
    partition = unpacker.unpack()
    expect(_FIELDS)
    offset, timestamp_ms, key, value = (unpacker.unpack() for _ in range(_FIELDS - 1))
    count = unpacker.read_array_header()
    if count > _HEADERS:
        raise BrokenPart(f"a message claims {count:,} headers")
    headers = []
    for _ in range(count):
        expect(2)
        headers.append((unpacker.unpack(), unpacker.unpack()))
    if unpacker.tell() != len(body):
        raise BrokenPart("a block is larger than its messages")
    return _checked(partition, offset, timestamp_ms, key, value, tuple(headers))


def _checked(
    partition: Any, offset: Any, timestamp_ms: Any, key: Any, value: Any, headers: Any
) -> tuple[int, Record]:
    if (
        type(partition) is not int
        or not 0 <= partition < _PARTITIONS
        or type(offset) is not int
        or not 0 <= offset < _OFFSETS
        or (timestamp_ms is not None and type(timestamp_ms) is not int)
        or not -_OFFSETS <= (timestamp_ms or 0) < _OFFSETS
        or (key is not None and type(key) is not bytes)
        or (value is not None and type(value) is not bytes)
        or type(headers) is not tuple
        or not all(_is_header(*header) for header in headers)
    ):
        raise BrokenPart("a block has other contents than messages")
    return partition, Record(offset, timestamp_ms, key, value, headers)


def _is_header(name: Any, value: Any) -> bool:
    return type(name) is str and (value is None or type(value) in (bytes, str))
