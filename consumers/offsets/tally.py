"""How many messages there are in a range of offsets, and from when they are.

Offsets are not messages: a compacted topic has gaps, a transactional one has offsets of its own
for commits and aborts. So messages are counted by reading them where that is cheap; elsewhere the
number of offsets says how many they are at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from fleet.kafka.chunk import Record
from fleet.kafka.groups import Spot
from fleet.kafka.ranges import RangeReader
from fleet.kafka.reader import Range

COUNTED_OFFSETS = 100_000
_COUNT_TIMEOUT_S = 10.0
_EDGE_OFFSETS = 100
_EDGE_TIMEOUT_S = 3.0


@dataclass(slots=True)
class Tally:
    """``exact`` unless ``messages`` is an upper bound. The timestamps are those of the first and
    the last message, None where there is none or it was not found.
    """

    messages: int = 0
    exact: bool = True
    first_ms: int | None = None
    last_ms: int | None = None


def tally(
    base_config: Mapping[str, Any],
    ranges: Mapping[Spot, Range],
    *,
    counted_offsets: int = COUNTED_OFFSETS,
) -> dict[Spot, Tally]:
    """Count by reading, up to so many offsets over all ranges. Blocks for seconds at most."""
    if sum(span.size for span in ranges.values()) <= counted_offsets:
        counted, unread = _read(base_config, ranges, _COUNT_TIMEOUT_S)
        return counted | _estimate(base_config, {spot: ranges[spot] for spot in unread})
    return _estimate(base_config, ranges)


def _estimate(base_config: Mapping[str, Any], ranges: Mapping[Spot, Range]) -> dict[Spot, Tally]:
    heads = {
        spot: Range(span.start, min(span.start + _EDGE_OFFSETS, span.end))
        for spot, span in ranges.items()
    }
    tails = {
        spot: Range(max(span.end - _EDGE_OFFSETS, span.start), span.end)
        for spot, span in ranges.items()
    }
    first, _ = _read(base_config, heads, _EDGE_TIMEOUT_S)
    last, _ = _read(base_config, tails, _EDGE_TIMEOUT_S)
    return {
        spot: Tally(span.size, span.size == 0, first[spot].first_ms, last[spot].last_ms)
        for spot, span in ranges.items()
    }


def _read(
    base_config: Mapping[str, Any], ranges: Mapping[Spot, Range], timeout_s: float
) -> tuple[dict[Spot, Tally], set[Spot]]:
    """What there is in each range, and the ranges that were not read to their end: in time, or
    because Kafka does not let them be read.
    """
    found = {spot: Tally() for spot in ranges}
    deadline = monotonic() + timeout_s
    if not any(span.size for span in ranges.values()):
        return found, set()
    with RangeReader(base_config, ranges) as reader:
        while reader.open and monotonic() < deadline:
            for message in reader.read():
                one = found[message.topic() or "", message.partition() or 0]
                timestamp_ms = Record.from_kafka(message).timestamp_ms
                if not one.messages:
                    one.first_ms = timestamp_ms
                one.messages += 1
                one.last_ms = timestamp_ms
        return found, reader.open | reader.unread
