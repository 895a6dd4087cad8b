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

#: More than any topic has. A replay through a consumer looks at each of them.
MAX_PARTITIONS: Final = 100_000
_MAX_INT: Final = 2**63 - 1
#: A header or a trailer: what a topic of many thousand partitions needs.
MAX_PART_BYTES: Final = 4 * 1024 * 1024
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
        ranges = {int(index): (a, b) for index, (a, b) in members["ranges"].items()}
        known = {name: value for name, value in members.items() if name in _MEMBERS}
        others = {name: value for name, value in members.items() if name not in _MEMBERS}
        header = RecordingHeader(
            **{**known, "ranges": ranges, "others": others, "version": version}
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordingError(f"its header is not a recording's: {error}") from error
    _check(header)
    return header


def _check(header: RecordingHeader) -> None:
    """A file may come from anywhere: what a checksum is right of may be nonsense all the same."""
    facts: dict[str, Any] = {name: getattr(header, name) for name in _MEMBERS}
    texts = ("filter", "consumer", "cluster_id")
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
        raise RecordingError(f"its header makes no sense: {', '.join(wrong)}")


def _is_number(value: object, first: int, last: int) -> bool:
    return type(value) is int and first <= value <= last
