"""Where a reset would put a group, and what that costs: which messages are lost or repeated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from consumer_fleet.errors import ConfigurationError, GroupIsActive, KafkaUnreachable
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.groups import Group, Groups
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.kafka.reader import PartitionId, Range, RangeReader
from consumer_fleet.targets import Target


@dataclass(frozen=True, slots=True)
class Move:
    """One partition. ``committed`` is None where the group has no offset: it counts as having
    consumed nothing. ``held`` is what the broker holds.
    """

    partition: int
    held: Range
    committed: int | None
    to: int
    clamped: bool = False

    @property
    def moves(self) -> bool:
        return self.committed != self.to

    @property
    def skipped(self) -> Range:
        """Messages that are there, are not consumed, and would never be."""
        return Range(max(self._stands_at, self.held.start), self.to)

    @property
    def repeated(self) -> Range:
        """Messages that are consumed and would be once more."""
        return Range(self.to, min(self._stands_at, self.held.end))

    @property
    def affected(self) -> Range:
        """At most one of the two is not empty."""
        return self.skipped if self.skipped.size else self.repeated

    @property
    def gone(self) -> int:
        """Offsets that retention has deleted before they were consumed, whatever is done now."""
        return 0 if self.committed is None else max(0, self.held.start - self.committed)

    @property
    def _stands_at(self) -> int:
        return self.held.start if self.committed is None else self.committed


def plan_reset(
    groups: Groups,
    target: Target,
    place: OffsetSpec,
    partitions: tuple[int, ...],
    *,
    may_be_new: bool,
) -> list[Move]:
    """Every partition's move, moving or not. Blocks on the broker.

    Raises ConfigurationError for a group (unless it ``may_be_new``), a topic or a partition that
    is not there, and GroupIsActive, which names the members.
    """
    spots = _spots(groups, target, partitions)
    group = groups.describe([target.group])[target.group]
    if not group.exists and not may_be_new:
        raise _no_group(groups, group)
    group.raise_if_active()
    committed = groups.committed(target.group, spots)
    held = groups.ranges(spots)
    missing = [spot for spot in spots if spot not in held]
    if missing:
        raise KafkaUnreachable(f"{_named(missing[0])} has no leader: its offsets can't be read")
    wanted = _wanted(groups, place, held, committed)
    # What comes before that time is read all the same.
    is_future = place.kind == "time" and place.number > time() * 1000
    moves = []
    for spot in spots:
        low, high = held[spot]
        to = min(max(wanted[spot], low), high)
        clamped = to != wanted[spot] or (is_future and to == high)
        moves.append(Move(spot[1], held[spot], committed.get(spot), to, clamped))
    return moves


def execute(groups: Groups, target: Target, moves: list[Move]) -> None:
    """Move the group as planned. Blocks on the broker.

    Raises GroupIsActive where it has members, now or at the broker's own check, or where it stands
    elsewhere than at the time of the plan.
    """
    groups.describe([target.group])[target.group].raise_if_active()
    spots = [(target.topic, move.partition) for move in moves]
    before = {
        (target.topic, move.partition): move.committed
        for move in moves
        if move.committed is not None
    }
    _expect(target, groups.committed(target.group, spots), before, "the plan was made")
    offsets = {(target.topic, move.partition): move.to for move in moves if move.moves}
    if offsets:
        groups.commit(target.group, offsets)


def confirm(groups: Groups, target: Target, moves: list[Move]) -> None:
    """Read back where the group was put. Blocks on the broker. Raises GroupIsActive where it
    stands elsewhere.
    """
    put = {(target.topic, move.partition): move.to for move in moves}
    _expect(target, groups.committed(target.group, list(put)), put, "it was moved")


def _expect(
    target: Target,
    found: Mapping[PartitionId, int],
    expected: Mapping[PartitionId, int],
    since: str,
) -> None:
    for spot in sorted(found.keys() | expected.keys()):
        if found.get(spot) != expected.get(spot):
            raise GroupIsActive(
                f"{_named(spot)}: group {target.group!r} stands at {found.get(spot)}, not at "
                f"{expected.get(spot)}: something else has committed since {since}; see that "
                "nothing consumes with this group, and try again"
            )


def _spots(groups: Groups, target: Target, partitions: tuple[int, ...]) -> list[PartitionId]:
    topics = groups.topics()
    present = topics.get(target.topic)
    if present is None:
        close = difflib.get_close_matches(target.topic, topics, n=1)
        hint = f": did you mean {close[0]!r}?" if close else "."
        raise ConfigurationError(f"topic {target.topic!r} does not exist on this cluster{hint}")
    for index in partitions:
        if index not in present:
            raise ConfigurationError(
                f"topic {target.topic!r} has no partition {index}: it has {len(present)}"
            )
    return [(target.topic, index) for index in sorted(set(partitions) or present)]


def _no_group(groups: Groups, group: Group) -> ConfigurationError:
    close = difflib.get_close_matches(group.name, groups.names(), n=1)
    hint = f": did you mean {close[0]!r}?" if close else "."
    return ConfigurationError(
        f"group {group.name!r} does not exist: it has never committed an offset{hint}"
    )


def _wanted(
    groups: Groups,
    place: OffsetSpec,
    held: Mapping[PartitionId, Range],
    committed: Mapping[PartitionId, int],
) -> dict[PartitionId, int]:
    if place.kind == "time":
        found = groups.at_time(list(held), place.number)
        wanted = {}
        for spot, span in held.items():
            offset = found.get(spot)
            # No message is that young: the next one will be.
            wanted[spot] = span.end if offset is None else offset
        return wanted
    if place.kind == "relative":
        bare = sorted(held.keys() - committed.keys())
        if bare:
            raise ConfigurationError(
                f"{_named(bare[0])} has no committed offset that {place} could count from: leave "
                "it out (--partition), or name another place"
            )
        return {spot: committed[spot] + place.number for spot in held}
    if place.kind == "offset":
        return dict.fromkeys(held, place.number)
    return {
        spot: span.start if place.kind == "earliest" else span.end for spot, span in held.items()
    }


def _named(spot: PartitionId) -> str:
    return f"{spot[0]}/{spot[1]}"


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
    ranges: Mapping[PartitionId, Range],
    *,
    counted_offsets: int = COUNTED_OFFSETS,
) -> dict[PartitionId, Tally]:
    """Count by reading, up to so many offsets over all ranges. Blocks for seconds at most."""
    if sum(span.size for span in ranges.values()) <= counted_offsets:
        counted, unread = _read(base_config, ranges, _COUNT_TIMEOUT_S)
        return counted | _estimate(base_config, {spot: ranges[spot] for spot in unread})
    return _estimate(base_config, ranges)


def _estimate(
    base_config: Mapping[str, Any], ranges: Mapping[PartitionId, Range]
) -> dict[PartitionId, Tally]:
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
    base_config: Mapping[str, Any], ranges: Mapping[PartitionId, Range], timeout_s: float
) -> tuple[dict[PartitionId, Tally], set[PartitionId]]:
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
