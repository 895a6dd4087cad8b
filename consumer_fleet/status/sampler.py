"""Samples the cluster: one report per sample, with rates from the second one on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Any, Self

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.dlq.topic import DeadLetterTopic
from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.groups import Group, Groups, ranges_of
from consumer_fleet.kafka.open_offsets import NOTHING_HELD, CommitMetadata
from consumer_fleet.kafka.range_reader import RangeReader, partition_of
from consumer_fleet.kafka.reader import PartitionId, Range
from consumer_fleet.kafka.retention import Retention, read_retention
from consumer_fleet.status.own_groups import OwnGroups
from consumer_fleet.status.report import ConsumerStatus, DeadLetterCount, PartitionStatus, Report
from consumer_fleet.targets import DEAD_LETTER_SUFFIX, Target

_OLDEST_TIMEOUT_S = 1.0
_RETENTION_INTERVAL_S = 60.0
_LOOK_INTERVAL_S = 15.0


@dataclass(frozen=True, slots=True)
class _Answers:
    """The cluster's answers, before they become a report."""

    taken_at: float
    topics: dict[str, list[int]]
    targets: list[Target]
    groups: dict[str, Group]
    ranges: dict[PartitionId, Range]
    committed: dict[tuple[str, PartitionId], int]
    held: dict[tuple[str, PartitionId], CommitMetadata]
    #: The offset up to which dead letters are replayed.
    replayed: dict[PartitionId, int]
    dead_letters: set[str]

    def partitions(self, target: Target) -> list[PartitionId]:
        return [(target.topic, index) for index in self.topics.get(target.topic, ())]


class Sampler:
    """A context manager, used from one thread. Each sample blocks on the broker, for seconds at
    most, and raises KafkaUnreachable or ConfigurationError; the next one may succeed.

    ``own_groups`` adds what it finds: on any topic if ``is_everywhere``, else on the targets'.
    """

    def __init__(
        self,
        cluster: ClusterOptions,
        targets: list[Target],
        further_groups: tuple[str, ...],
        *,
        own_groups: OwnGroups | None = None,
        is_everywhere: bool = True,
    ) -> None:
        self._kafka = cluster.kafka
        self._targets = targets
        self._further_groups = further_groups
        self._own = own_groups
        self._is_everywhere = is_everywhere
        self._look_due = 0.0
        self._dead_letter_topic = cluster.options.dlq_topic
        self._groups = Groups(cluster.kafka)
        self._before: _Answers | None = None
        # The oldest message at each position that was read: a group that does not move is not read
        # again for every sample.
        self._oldest: dict[tuple[PartitionId, int], Oldest] = {}
        self._retention: dict[str, Retention] = {}
        self._retention_due = 0.0

    def sample(self) -> Report:
        """A report, with the ages of waiting messages."""
        try:
            sample = self._ask()
        except KafkaUnreachable:
            # An admin client whose coordinator was away never reaches it again (librdkafka 2.16); a
            # new one does.
            self._groups.close()
            self._groups = Groups(self._kafka)
            raise
        report = self._report(sample)
        self._before = sample
        return self._with_ages(report)

    # -- asking ---------------------------------------------------------------------------------

    def _ask(self) -> _Answers:
        topics = self._groups.topics()
        targets = [*self._targets, *self._found(topics)]
        names = {target.group for target in targets} | set(self._further_groups)
        self._groups.prepare(sorted(names))
        described = self._groups.describe(names)
        dead_letters = self._dead_letter_topics(targets)
        wanted = {target.topic for target in targets} | dead_letters
        partitions = [
            (topic, index)
            for topic, indexes in topics.items()
            # A further group may consume any topic.
            if self._further_groups or topic in wanted
            for index in indexes
        ]
        # A group that is consuming moves meanwhile: read the starts before its position, and the
        # ends after it.
        starts = self._groups.starts(partitions)
        committed: dict[tuple[str, PartitionId], int] = {}
        held: dict[tuple[str, PartitionId], CommitMetadata] = {}
        for name in sorted(names):
            # One request, however many partitions.
            for partition, (offset, says) in self._groups.commits(name, partitions).items():
                committed[name, partition] = offset
                held[name, partition] = says
        targets += self._further_targets(targets, described, committed)
        dead_letters |= self._dead_letter_topics(targets)
        replayed = self._replayed([each for each in partitions if each[0] in dead_letters])
        ranges = ranges_of(starts, self._groups.ends(partitions))
        return _Answers(
            monotonic(),
            topics if len(ranges) == len(partitions) else self._still_there(topics),
            targets,
            described,
            ranges,
            committed,
            held,
            replayed,
            dead_letters,
        )

    def _still_there(self, topics: Mapping[str, list[int]]) -> dict[str, list[int]]:
        """Without topics that were deleted meanwhile. Where a leader is missing, it is all."""
        present = self._groups.topics()
        return {name: indexes for name, indexes in topics.items() if name in present}

    def _found(self, topics: Mapping[str, list[int]]) -> list[Target]:
        """The groups of this program that have another name, or run on another topic."""
        if self._own is None:
            return []
        own = {target.topic for target in self._targets}
        known = {target.group for target in self._targets}
        if monotonic() >= self._look_due:
            self._own.find(self._groups, topics, known=known | set(self._further_groups), on=own)
            self._look_due = monotonic() + _LOOK_INTERVAL_S
        found = {
            (group, topic)
            for group, its_topics in self._own.topics.items()
            for topic in its_topics
            if self._is_everywhere or topic in own or group in known
        }
        return _as_targets(found, self._targets)

    def _dead_letter_topics(self, targets: Iterable[Target]) -> set[str]:
        """Those of the targets, and those of which this program has replayed some."""
        found = {f"{target.topic}{DEAD_LETTER_SUFFIX}" for target in targets}
        if self._dead_letter_topic is not None:
            found.add(self._dead_letter_topic)
        return found | (self._own.replayed if self._own is not None else set())

    def _replayed(self, partitions: list[PartitionId]) -> dict[PartitionId, int]:
        """Replay positions, but of topics never replayed, or hidden from this user."""
        groups = {DeadLetterTopic(topic, None).group: topic for topic, _ in partitions}
        # Each takes a client of its own, so only existing groups are asked.
        present = self._groups.visible(groups)
        self._groups.prepare(present)
        found: dict[PartitionId, int] = {}
        for name in present:
            own = [partition for partition in partitions if partition[0] == groups[name]]
            found |= self._groups.committed(name, own)
        return found

    def _further_targets(
        self,
        targets: list[Target],
        described: Mapping[str, Group],
        committed: Mapping[tuple[str, PartitionId], int],
    ) -> list[Target]:
        """The topics of the groups that were named: those they have committed in or are reading."""
        found = set()
        for name in self._further_groups:
            found |= {(name, topic) for group, (topic, _) in committed if group == name}
            for member in described[name].members:
                found |= {(name, topic) for topic, _ in member.assigned}
        return _as_targets(found, targets)

    # -- the report -----------------------------------------------------------------------------

    def _report(self, sample: _Answers) -> Report:
        now = monotonic()
        present = {target.topic for target in sample.targets if target.topic in sample.topics}
        if now >= self._retention_due or present - self._retention.keys():
            self._retention = read_retention(self._groups.admin, present)
            self._retention_due = now + _RETENTION_INTERVAL_S
        statuses = _without_replaced([self._status(sample, target) for target in sample.targets])
        begun = {status.target.topic for status in statuses if status.has_run}
        idle = {status.target.topic for status in statuses if status.topic_exists} - begun
        return Report(
            at_s=time(),
            consumers=statuses,
            unread={topic: held for topic in sorted(idle) if (held := _held(sample, topic))},
            dead_letters={
                topic: DeadLetterCount(_held(sample, topic, sample.replayed), held)
                for topic in sorted(sample.dead_letters)
                if (held := _held(sample, topic))
            },
            missing_groups=sorted(
                set(self._further_groups) - {each.group for each in sample.targets}
            ),
            unasked_groups=0 if self._own is None else self._own.unasked,
        )

    def _status(self, sample: _Answers, target: Target) -> ConsumerStatus:
        group = sample.groups[target.group]
        owners = {
            partition: member.member_id for member in group.members for partition in member.assigned
        }
        rows = tuple(
            PartitionStatus(
                index=partition[1],
                start=sample.ranges[partition].start,
                end=sample.ranges[partition].end,
                committed=sample.committed.get((target.group, partition)),
                owner=owners.get(partition),
                rate=self._rate(sample, group, partition),
                held=sample.held.get((target.group, partition), NOTHING_HELD),
            )
            for partition in sample.partitions(target)
            if partition in sample.ranges
        )
        retention = self._retention.get(target.topic)
        return ConsumerStatus(target, group, len(sample.partitions(target)), rows, retention)

    def _rate(self, sample: _Answers, group: Group, partition: PartitionId) -> float | None:
        if self._before is None:
            return None
        position = group.name, partition
        now, before = sample.committed.get(position), self._before.committed.get(position)
        if now is None or before is None:
            return None
        # A group that was moved back has not consumed a negative number of messages.
        consumed = max(0, now - before)
        if not consumed and not group.members:
            return None  # nobody consumes
        return consumed / max(sample.taken_at - self._before.taken_at, 1e-3)

    def _with_ages(self, report: Report) -> Report:
        """Read the oldest waiting message of every partition that a group has begun."""
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
                position = (status.target.topic, row.index), row.next_offset
                first = self._oldest.get(position) if status.has_run and row.waiting else None
                rows.append(_with_age(row, first, status.retention, report.at_s))
            consumers.append(replace(status, rows=tuple(rows)))
        return replace(report, consumers=tuple(consumers))

    def _read_oldest(self, wanted: list[tuple[PartitionId, Range]]) -> None:
        positions = {(partition, span.start) for partition, span in wanted}
        self._oldest = {
            position: known for position, known in self._oldest.items() if position in positions
        }
        unknown = [
            (partition, span)
            for partition, span in wanted
            if (partition, span.start) not in self._oldest
        ]
        found = oldest_messages(self._kafka, unknown, _OLDEST_TIMEOUT_S) if unknown else []
        for (partition, span), oldest in zip(unknown, found, strict=True):
            if oldest is not None:
                self._oldest[partition, span.start] = oldest

    def close(self) -> None:
        self._groups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_targets(found: Iterable[tuple[str, str]], but: Iterable[Target]) -> list[Target]:
    """Groups on topics, without those that are targets already."""
    known = {(target.group, target.topic) for target in but}
    return [Target(None, *each) for each in sorted(set(found) - known)]


def _without_replaced(statuses: list[ConsumerStatus]) -> tuple[ConsumerStatus, ...]:
    """Without consumers that never ran where another group of this program has: under another name
    on their topic, or under their name on another topic.
    """
    found = [status.target for status in statuses if status.target.consumer is None]
    groups, topics = {each.group for each in found}, {each.topic for each in found}
    return tuple(
        status
        for status in statuses
        if status.target.consumer is None
        or any(row.committed is not None for row in status.rows)
        or not (status.target.group in groups or status.target.topic in topics)
    )


def _held(sample: _Answers, topic: str, from_: Mapping[PartitionId, int] | None = None) -> int:
    """Messages of a topic: all, or those from these offsets on."""
    return sum(
        span._replace(start=max(span.start, (from_ or {}).get(partition, 0))).size
        for partition, span in sample.ranges.items()
        if partition[0] == topic
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


# Enough for one message of each partition: a broker sends a first batch of any size.
_PEEK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Oldest:
    """The first message of a range. ``mean_bytes`` is the mean size of it and those that arrived
    with it.
    """

    offset: int
    timestamp_ms: int | None
    mean_bytes: float


def oldest_messages(
    base_config: Mapping[str, Any], ranges: Iterable[tuple[PartitionId, Range]], timeout_s: float
) -> list[Oldest | None]:
    """The first readable message of each range, in the order given; None for an empty range, or
    where it did not arrive within ``timeout_s``. A partition may be named more than once.
    """
    wanted = list(ranges)
    found: list[Oldest | None] = [None] * len(wanted)
    # A client reads a partition at one position only: a second position takes a second client.
    rounds: list[dict[PartitionId, int]] = []
    for number, (partition, _) in enumerate(wanted):
        free = next((each for each in rounds if partition not in each), None)
        if free is None:
            rounds.append(free := {})
        free[partition] = number
    deadline = monotonic() + timeout_s
    for members in rounds:
        own = {partition: wanted[number][1] for partition, number in members.items()}
        for partition, oldest in _first_of_each(base_config, own, deadline).items():
            found[members[partition]] = oldest
    return found


def _first_of_each(
    base_config: Mapping[str, Any], ranges: Mapping[PartitionId, Range], deadline: float
) -> dict[PartitionId, Oldest]:
    settings = {
        "fetch.message.max.bytes": _PEEK_BYTES,
        "queued.max.messages.kbytes": 1024,
        "fetch.wait.max.ms": 100,
    }
    found: dict[PartitionId, Oldest] = {}
    with RangeReader(base_config, ranges, settings) as reader:
        while reader.open and monotonic() < deadline:
            arrived: dict[PartitionId, list[Record]] = defaultdict(list)
            for message in reader.read():
                arrived[partition_of(message)].append(Record.from_kafka(message))
            for partition, records in arrived.items():
                mean = sum(record.size for record in records) / len(records)
                found[partition] = Oldest(records[0].offset, records[0].timestamp_ms, mean)
                if partition in reader.open:
                    reader.finish(partition)
    return found
