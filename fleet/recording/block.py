"""A block: some messages as msgpack, compressed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack
import zstandard

from fleet.kafka.chunk import Record
from fleet.recording.header import MAX_BLOCK_BYTES, MAX_MESSAGE_BYTES
from fleet.recording.parts import BrokenPart

_FIELDS: Final = len(Record._fields)
_HEADERS: Final = 100_000
# Kafka's numbers have 32 and 64 bits.
_PARTITIONS: Final = 2**31
_OFFSETS: Final = 2**63


def pack_block(messages: Sequence[tuple[int, Record]]) -> bytes:
    """A block's body, not compressed: ``[[partition, [offset, timestamp_ms, key, value,
    [[name, value], …]]], …]``.
    """
    return bytes(msgpack.packb(messages))


def unpack_block(compressed: bytes) -> list[tuple[int, Record]]:
    """The messages. Raises BrokenPart for anything that ``pack_block`` does not make.

    What a few bytes may blow up to is limited: a file may come from anywhere.
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
        raise BrokenPart("a block holds something else than messages") from error


def _unpack_large(body: bytes) -> tuple[int, Record]:
    """One message that is larger than a block. Step by step, since a hundred MiB of nested empty
    arrays would be many GiB of objects.
    """
    unpacker = msgpack.Unpacker(
        max_buffer_size=len(body), max_array_len=0, max_map_len=0, max_ext_len=0
    )
    unpacker.feed(body)

    def expect(length: int) -> None:
        if unpacker.read_array_header() != length:
            raise BrokenPart("a block is larger than its messages may make it")

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
        raise BrokenPart("a block is larger than its messages may make it")
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
        raise BrokenPart("a block holds something else than messages")
    return partition, Record(offset, timestamp_ms, key, value, headers)


def _is_header(name: Any, value: Any) -> bool:
    return type(name) is str and (value is None or type(value) in (bytes, str))
