"""The plan of a reset: the new offsets, and the messages that it loses or repeats."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic, time
from typing import Any

from consumer_fleet.errors import ConfigurationError, GroupIsActive, KafkaUnreachable
from consumer_fleet.humanize import did_you_mean
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.kafka.range_reader import RangeReader
from consumer_fleet.kafka.reader import PartitionId, Range
from consumer_fleet.targets import Target


@dataclass(slots=True)
class MessageCount:
    """``exact`` unless ``messages`` is an upper bound. The timestamps are those of the first and
    the last message, None if there are no messages or they were not found.
    """

    messages: int = 0
    exact: bool = True
    first_ms: int | None = None
    last_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One partition. ``committed`` is None if the group has no offset: it counts as having
    consumed nothing. ``stored`` are the offsets that the broker has, and ``count`` is of the
    messages between the two positions, once `counted_moves` has counted them.
    """

    partition: int
    stored: Range
    committed: int | None
    to: int
    clamped: bool = False
    count: MessageCount = field(default_factory=MessageCount)

    @property
    def moves(self) -> bool:
        return self.committed != self.to

    @property
    def skipped(self) -> Range:
        """Stored messages that were not consumed, and never would be."""
        return Range(max(self._position, self.stored.start), self.to)

    @property
    def repeated(self) -> Range:
        """Consumed messages that would be consumed again."""
        return Range(self.to, min(self._position, self.stored.end))

    @property
    def affected(self) -> Range:
        """At most one of the two is not empty."""
        return self.skipped if self.skipped.size else self.repeated

    @property
    def lost(self) -> int:
        """Messages that would be skipped, or more, unless ``count`` is exact."""
        return self.count.messages if self.skipped.size else 0

    @property
    def repeated_messages(self) -> int:
        """Messages that would be sent again, or more, unless ``count`` is exact."""
        return self.count.messages if self.repeated.size else 0

    @property
    def gone(self) -> int:
        """Offsets that retention deleted before they were consumed, whatever happens now."""
        return 0 if self.committed is None else max(0, self.stored.start - self.committed)

    @property
    def _position(self) -> int:
        return self.stored.start if self.committed is None else self.committed


def plan_reset(
    groups: Groups,
    target: Target,
    spec: OffsetSpec,
    indexes: tuple[int, ...],
    *,
    may_be_new: bool,
) -> list[Move]:
    """The move of every partition, also of those that stay. Blocks on the broker.

    Raises ConfigurationError if the group (unless it ``may_be_new``), the topic or a partition does
    not exist, and GroupIsActive, which names the members.
    """
    partitions = _partitions(groups, target, indexes)
    group = groups.describe([target.group])[target.group]
    if not group.exists and not may_be_new:
        hint = did_you_mean(group.name, groups.listed())
        raise ConfigurationError(
            f"group {group.name!r} does not exist: it has never committed an offset{hint}"
        )
    group.raise_if_active()
    committed = groups.committed(target.group, partitions)
    stored = groups.ranges(partitions)
    _refuse_missing(partitions, stored)
    wanted = _wanted(groups, spec, stored, committed)
    # Messages that arrive before that time are read, too.
    is_future = spec.kind == "time" and spec.number > time() * 1000
    moves = []
    for partition in partitions:
        low, high = stored[partition]
        to = min(max(wanted[partition], low), high)
        clamped = to != wanted[partition] or (is_future and to == high)
        moves.append(Move(partition[1], stored[partition], committed.get(partition), to, clamped))
    return moves


def execute(groups: Groups, target: Target, moves: list[Move]) -> None:
    """Move the group as planned. Blocks on the broker.

    Raises GroupIsActive if it has members, now or by the broker's own check, or if it has moved
    since the plan was made.
    """
    groups.describe([target.group])[target.group].raise_if_active()
    partitions = [(target.topic, move.partition) for move in moves]
    before = {
        (target.topic, move.partition): move.committed
        for move in moves
        if move.committed is not None
    }
    _expect(target, groups.committed(target.group, partitions), before, "the plan was made")
    offsets = {(target.topic, move.partition): move.to for move in moves if move.moves}
    if offsets:
        groups.commit(target.group, offsets)


def confirm(groups: Groups, target: Target, moves: list[Move]) -> None:
    """Read the group's position back. Blocks on the broker. Raises GroupIsActive if it has moved
    since.
    """
    put = {(target.topic, move.partition): move.to for move in moves}
    _expect(target, groups.committed(target.group, list(put)), put, "it was moved")


def _expect(
    target: Target,
    found: Mapping[PartitionId, int],
    expected: Mapping[PartitionId, int],
    since: str,
) -> None:
    for partition in sorted(found.keys() | expected.keys()):
        if found.get(partition) != expected.get(partition):
            raise GroupIsActive(
                f"{_named(partition)}: group {target.group!r} is at {found.get(partition)}, not at "
                f"{expected.get(partition)}: another client has committed since {since}; stop "
                "whatever consumes with this group, and retry"
            )


def _partitions(groups: Groups, target: Target, indexes: tuple[int, ...]) -> list[PartitionId]:
    topics = groups.topics()
    present = topics.get(target.topic)
    if present is None:
        hint = did_you_mean(target.topic, topics)
        raise ConfigurationError(f"topic {target.topic!r} does not exist on this cluster{hint}")
    for index in indexes:
        if index not in present:
            raise ConfigurationError(
                f"topic {target.topic!r} has no partition {index}: it has {len(present)}"
            )
    return [(target.topic, index) for index in sorted(set(indexes) or present)]


def _wanted(
    groups: Groups,
    spec: OffsetSpec,
    stored: Mapping[PartitionId, Range],
    committed: Mapping[PartitionId, int],
) -> dict[PartitionId, int]:
    if spec.kind == "time":
        found = groups.at_time(list(stored), spec.number)
        _refuse_missing(stored, found)
        wanted = {}
        for partition, span in stored.items():
            offset = found[partition]
            # No message is that recent: continue with the next one.
            wanted[partition] = span.end if offset is None else offset
        return wanted
    if spec.kind == "relative":
        bare = sorted(stored.keys() - committed.keys())
        if bare:
            raise ConfigurationError(
                f"{_named(bare[0])} has no committed offset that {spec} could count from: leave "
                "it out (--partition), or use another --to"
            )
        return {partition: committed[partition] + spec.number for partition in stored}
    if spec.kind == "offset":
        return dict.fromkeys(stored, spec.number)
    return {
        partition: span.start if spec.kind == "earliest" else span.end
        for partition, span in stored.items()
    }


def _refuse_missing(wanted: Iterable[PartitionId], found: Container[PartitionId]) -> None:
    for partition in wanted:
        if partition not in found:
            raise KafkaUnreachable(
                f"{_named(partition)} has no leader, or was deleted: its offsets can't be read"
            )


def _named(partition: PartitionId) -> str:
    return f"{partition[0]}/{partition[1]}"


COUNTED_OFFSETS = 100_000
_COUNT_TIMEOUT_S = 10.0
_EDGE_OFFSETS = 100
_EDGE_TIMEOUT_S = 3.0


def counted_moves(base_config: Mapping[str, Any], target: Target, moves: list[Move]) -> list[Move]:
    """The same moves, with the counts of the messages that they skip or repeat. Blocks for seconds
    at most.
    """
    affected = {(target.topic, move.partition): move.affected for move in moves}
    counts = count_messages(base_config, affected)
    return [replace(move, count=counts[target.topic, move.partition]) for move in moves]


def count_messages(
    base_config: Mapping[str, Any],
    ranges: Mapping[PartitionId, Range],
    *,
    counted_offsets: int = COUNTED_OFFSETS,
) -> dict[PartitionId, MessageCount]:
    """Count by reading if all ranges together have no more than ``counted_offsets``, else
    estimate. Blocks for seconds at most.
    """
    if sum(span.size for span in ranges.values()) <= counted_offsets:
        counted, unread = _read(base_config, ranges, _COUNT_TIMEOUT_S)
        return counted | _estimate(
            base_config, {partition: ranges[partition] for partition in unread}
        )
    return _estimate(base_config, ranges)


def _estimate(
    base_config: Mapping[str, Any], ranges: Mapping[PartitionId, Range]
) -> dict[PartitionId, MessageCount]:
    heads = {
        partition: Range(span.start, min(span.start + _EDGE_OFFSETS, span.end))
        for partition, span in ranges.items()
    }
    tails = {
        partition: Range(max(span.end - _EDGE_OFFSETS, span.start), span.end)
        for partition, span in ranges.items()
    }
    first, _ = _read(base_config, heads, _EDGE_TIMEOUT_S)
    last, _ = _read(base_config, tails, _EDGE_TIMEOUT_S)
    return {
        partition: MessageCount(
            span.size, span.size == 0, first[partition].first_ms, last[partition].last_ms
        )
        for partition, span in ranges.items()
    }


def _read(
    base_config: Mapping[str, Any], ranges: Mapping[PartitionId, Range], timeout_s: float
) -> tuple[dict[PartitionId, MessageCount], set[PartitionId]]:
    """The messages of each range, and the ranges that were not read to their end: in time, or
    because Kafka does not permit it.
    """
    found = {partition: MessageCount() for partition in ranges}
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
