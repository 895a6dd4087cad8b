"""Looks at the cluster: one report per look, with rates from the second look on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Self

from consumer_fleet.command_options import ClusterOptions
from consumer_fleet.dlq.letters import DeadLetterTopic
from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.groups import Group, Groups, Spot
from consumer_fleet.kafka.ranges import Oldest, oldest_messages
from consumer_fleet.kafka.reader import Range
from consumer_fleet.kafka.retention import Retention, read_retention
from consumer_fleet.status.report import ConsumerStatus, DeadLetters, PartitionStatus, Report
from consumer_fleet.targets import DEAD_LETTER_SUFFIX, Target

_OLDEST_TIMEOUT_S = 1.0
_RETENTION_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class _Look:
    """What the cluster said, before it is put together."""

    taken_at: float
    topics: dict[str, list[int]]
    targets: list[Target]
    groups: dict[str, Group]
    ranges: dict[Spot, Range]
    committed: dict[tuple[str, Spot], int]
    #: Up to where dead letters are replayed.
    replayed: dict[Spot, int]

    def spots(self, target: Target) -> list[Spot]:
        return [(target.topic, index) for index in self.topics.get(target.topic, ())]


class Sampler:
    """A context manager, used from one thread; every look blocks on the broker, for seconds at
    most, and raises KafkaUnreachable or ConfigurationError. It may look again afterwards.
    """

    def __init__(
        self, cluster: ClusterOptions, targets: list[Target], further_groups: tuple[str, ...]
    ) -> None:
        self._kafka = cluster.kafka
        self._targets = targets
        self._further_groups = further_groups
        self._dead_letter_topic = cluster.options.dlq_topic
        self._groups = Groups(cluster.kafka)
        self._before: _Look | None = None
        # The oldest message at a place that was read before: a group that stands still is not
        # read again at every look.
        self._oldest: dict[tuple[Spot, int], Oldest] = {}
        self._retention: dict[str, Retention] = {}
        self._retention_due = 0.0

    def look(self) -> Report:
        """One look, with the ages of what waits."""
        try:
            look = self._ask()
        except KafkaUnreachable:
            # An admin client whose coordinator was away never hears from it again (librdkafka
            # 2.16); a new one does.
            self._groups.close()
            self._groups = Groups(self._kafka)
            raise
        report = self._report(look)
        self._before = look
        return self._with_ages(report)

    # -- asking ---------------------------------------------------------------------------------

    def _ask(self) -> _Look:
        topics = self._groups.topics()
        names = {target.group for target in self._targets} | set(self._further_groups)
        self._groups.prepare(sorted(names))
        described = self._groups.describe(names)
        spots = [
            (topic, index)
            for topic, indexes in topics.items()
            if self._matters(topic)
            for index in indexes
        ]
        # A group that is at work passes the start while it is asked about, so the starts are
        # taken before its position, and the ends after it.
        starts = self._groups.starts(spots)
        committed: dict[tuple[str, Spot], int] = {}
        for name in sorted(names):
            # One request, however many partitions.
            for spot, offset in self._groups.committed(name, spots).items():
                committed[name, spot] = offset
        replayed = self._replayed([spot for spot in spots if self._is_dead_letter_topic(spot[0])])
        ends = self._groups.ends(spots)
        taken_at = monotonic()
        ranges = {spot: Range(starts[spot], ends[spot]) for spot in starts if spot in ends}
        targets = [*self._targets, *self._further_targets(described, committed)]
        return _Look(taken_at, topics, targets, described, ranges, committed, replayed)

    def _replayed(self, spots: list[Spot]) -> dict[Spot, int]:
        """Without an entry where nothing was replayed, or where this user may not know it."""
        groups = {DeadLetterTopic(topic, None).group: topic for topic, _ in spots}
        # Each takes a client of its own, so only those that are there are asked.
        present = self._groups.visible(groups)
        self._groups.prepare(present)
        found: dict[Spot, int] = {}
        for name in present:
            own = [spot for spot in spots if spot[0] == groups[name]]
            found |= self._groups.committed(name, own)
        return found

    def _matters(self, topic: str) -> bool:
        # Which topics a further group consumes is known only once it was asked about all.
        return (
            bool(self._further_groups)
            or any(target.topic == topic for target in self._targets)
            or self._is_dead_letter_topic(topic)
        )

    def _is_dead_letter_topic(self, topic: str) -> bool:
        return topic.endswith(DEAD_LETTER_SUFFIX) or topic == self._dead_letter_topic

    def _further_targets(
        self, described: Mapping[str, Group], committed: Mapping[tuple[str, Spot], int]
    ) -> list[Target]:
        """The topics of the groups that were named: those they have committed in or are reading."""
        found = set()
        for name in self._further_groups:
            found |= {(name, topic) for group, (topic, _) in committed if group == name}
            for member in described[name].members:
                found |= {(name, topic) for topic, _ in member.assigned}
        own = {(target.group, target.topic) for target in self._targets}
        return [Target(None, *each) for each in sorted(found - own)]

    # -- putting it together --------------------------------------------------------------------

    def _report(self, look: _Look) -> Report:
        now = monotonic()
        present = {target.topic for target in look.targets if target.topic in look.topics}
        if now >= self._retention_due or present - self._retention.keys():
            self._retention = read_retention(self._groups.admin, present)
            self._retention_due = now + _RETENTION_INTERVAL_S
        statuses = tuple(self._status(look, target) for target in look.targets)
        begun = {status.target.topic for status in statuses if status.has_run}
        idle = {status.target.topic for status in statuses if status.topic_exists} - begun
        return Report(
            at_s=time(),
            consumers=statuses,
            unread={topic: held for topic in sorted(idle) if (held := _held(look, topic))},
            dead_letters={
                topic: DeadLetters(_held(look, topic, look.replayed), held)
                for topic in sorted(look.topics)
                if self._is_dead_letter_topic(topic) and (held := _held(look, topic))
            },
            nowhere=sorted(set(self._further_groups) - {each.group for each in look.targets}),
        )

    def _status(self, look: _Look, target: Target) -> ConsumerStatus:
        group = look.groups[target.group]
        owners = {spot: member.member_id for member in group.members for spot in member.assigned}
        rows = tuple(
            PartitionStatus(
                index=spot[1],
                start=look.ranges[spot].start,
                end=look.ranges[spot].end,
                committed=look.committed.get((target.group, spot)),
                owner=owners.get(spot),
                rate=self._rate(look, group, spot),
            )
            for spot in look.spots(target)
            if spot in look.ranges
        )
        retention = self._retention.get(target.topic)
        return ConsumerStatus(target, group, len(look.spots(target)), rows, retention)

    def _rate(self, look: _Look, group: Group, spot: Spot) -> float | None:
        if self._before is None:
            return None
        place = group.name, spot
        now, before = look.committed.get(place), self._before.committed.get(place)
        if now is None or before is None:
            return None
        # A group that was set back has not consumed a negative number of messages.
        consumed = max(0, now - before)
        if not consumed and not group.members:
            return None  # nobody consumes
        return consumed / max(look.taken_at - self._before.taken_at, 1e-3)

    def _with_ages(self, report: Report) -> Report:
        """Read the oldest waiting message of every partition that anybody has begun."""
        wanted = sorted(
            {
                ((status.target.topic, row.index), Range(row.next_offset, row.end))
                for status in report.consumers
                if status.has_run
                for row in status.rows
                if row.waiting
            }
        )
        self._read_oldest(wanted)
        consumers = []
        for status in report.consumers:
            rows = []
            for row in status.rows:
                place = (status.target.topic, row.index), row.next_offset
                first = self._oldest.get(place) if status.has_run and row.waiting else None
                rows.append(_with_age(row, first, status.retention, report.at_s))
            consumers.append(replace(status, rows=tuple(rows)))
        return replace(report, consumers=tuple(consumers))

    def _read_oldest(self, wanted: list[tuple[Spot, Range]]) -> None:
        places = {(spot, span.start) for spot, span in wanted}
        self._oldest = {place: known for place, known in self._oldest.items() if place in places}
        unknown = [(spot, span) for spot, span in wanted if (spot, span.start) not in self._oldest]
        found = oldest_messages(self._kafka, unknown, _OLDEST_TIMEOUT_S) if unknown else []
        for (spot, span), oldest in zip(unknown, found, strict=True):
            if oldest is not None:
                self._oldest[spot, span.start] = oldest

    def close(self) -> None:
        self._groups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _held(look: _Look, topic: str, from_: Mapping[Spot, int] | None = None) -> int:
    """Messages of a topic, all of them or those at these places and later."""
    return sum(
        span._replace(start=max(span.start, (from_ or {}).get(spot, 0))).size
        for spot, span in look.ranges.items()
        if spot[0] == topic
    )


def _with_age(
    row: PartitionStatus, oldest: Oldest | None, retention: Retention | None, now_s: float
) -> PartitionStatus:
    if oldest is None:
        return row
    loss = None
    if retention is not None:
        loss = retention.loss(
            oldest.timestamp_ms, now_s, waiting=row.waiting, mean_bytes=oldest.mean_bytes
        )
    return replace(row, oldest_ms=oldest.timestamp_ms, loss=loss)
