"""What a recording says of itself: where its messages come from and what was left out.

The file is a stream of msgpack arrays; docs/recordings.md describes it byte for byte::

    ["consumer-fleet-recording", version, checksum, header]
    ["messages", checksum, zstd(body)]          any number of these blocks
    ["end", checksum, counts]

A checksum is the CRC-32 of the bytes that follow it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

import msgpack

from fleet.errors import RecordingError

MAGIC: Final = "consumer-fleet-recording"
#: Raised when a reader of the present version would misread what is written.
FORMAT_VERSION: Final = 1
MESSAGES: Final = "messages"
END: Final = "end"

#: A header or a trailer: what a topic of many thousand partitions needs.
MAX_PART_BYTES: Final = 16 * 1024 * 1024
#: A block with more than one message, unpacked.
MAX_BLOCK_BYTES: Final = 2 * 1024 * 1024
#: A block with one message, unpacked. A whole envelope has 200 MiB at most.
MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """Known at the start of a recording. ``ranges``: partition → first offset, end excluded.

    ``partitions`` is the source topic's count, whichever of them were read. ``consumer`` names the
    consumer whose messages they are, where that is known; ``cluster_id`` is the source cluster's.
    ``others`` keeps members that a later version of this program has added.
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
    others: Mapping[str, Any] = field(default_factory=dict)
    version: int = FORMAT_VERSION


_MEMBERS: Final = frozenset(
    each.name for each in fields(RecordingHeader) if each.name not in ("others", "version")
)


def pack_part(kind: str, body: bytes, *, version: int | None = None) -> bytes:
    """One array of the stream; the first of a file has the version, too."""
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
    """The header that passed its checksum. Raises RecordingError if it makes no sense."""
    try:
        members = msgpack.unpackb(body)
        ranges = {int(index): (int(a), int(b)) for index, (a, b) in members["ranges"].items()}
        known = {name: value for name, value in members.items() if name in _MEMBERS}
        others = {name: value for name, value in members.items() if name not in _MEMBERS}
        header = RecordingHeader(
            **{**known, "ranges": ranges, "others": others, "version": version}
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordingError(f"its header is not a recording's: {error}") from error
    if not isinstance(header.topic, str) or type(header.partitions) is not int:
        raise RecordingError("its header names no topic")
    return header
