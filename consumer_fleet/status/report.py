"""A report of all consumers, and the issues in it: plain data for tables, JSON and checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from consumer_fleet.humanize import counted, short_duration
from consumer_fleet.kafka.groups import Group, reset_command
from consumer_fleet.kafka.open_offsets import NOTHING_HELD, CommitMetadata
from consumer_fleet.kafka.retention import Loss, Retention
from consumer_fleet.printable import printable
from consumer_fleet.targets import Target


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One group's position in one partition. The broker stores ``start`` to ``end`` (excluded).
    ``rate`` is messages per second, None in the first report. ``held`` is what the commit says of
    messages that others have passed.
    """

    index: int
    start: int
    end: int
    committed: int | None
    owner: str | None
    rate: float | None = None
    oldest_ms: int | None = None
    loss: Loss | None = None
    held: CommitMetadata = NOTHING_HELD

    @property
    def lag(self) -> int | None:
        """As Kafka's own tool computes it: None without a committed offset, and including deleted
        offsets.
        """
        return None if self.committed is None else self.end - self.committed

    @property
    def next_offset(self) -> int:
        """The offset at which reading would continue."""
        return self.start if self.committed is None else max(self.start, self.committed)

    @property
    def waiting(self) -> int:
        """Offsets still to be settled: held ones, and those that nothing has passed."""
        return max(0, self.end - max(self.next_offset, self.held.high)) + len(self.held.open)

    @property
    def lost(self) -> int:
        """Offsets that were deleted before they were read."""
        return 0 if self.committed is None else max(0, self.start - self.committed)

    @property
    def past_end(self) -> bool:
        return self.committed is not None and self.committed > self.end

    def lag_s(self, now_s: float) -> float | None:
        """Age of the oldest waiting message; 0 if none waits, None if unknown."""
        if self.committed is not None and not self.waiting:
            return 0.0
        return None if self.oldest_ms is None else now_s - self.oldest_ms / 1000


class Cause(NamedTuple):
    """Why a partition's commit does not move: the oldest message that is not delivered.

    ``kind`` is that of its delivery (`HeldKind`), "" where the commit does not say.
    """

    topic: str
    partition: int
    offset: int
    kind: str
    destination: str
    answer: str

    def __str__(self) -> str:
        position = f"{self.topic}/{self.partition} at offset {self.offset}"
        if not self.destination:
            return f"{position}: {self.answer or 'not delivered before a stop, and read again'}"
        what = {"limited": "limits it", "failing": "fails on it"}.get(self.kind, self.kind)
        return f"{position}: {self.destination} {what}: {self.answer}"


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """One group on one topic. ``partitions`` is how many the topic has, 0 if it does not exist;
    those without a leader are missing from ``rows``.
    """

    target: Target
    group: Group
    partitions: int
    rows: tuple[PartitionStatus, ...] = ()
    retention: Retention | None = None

    @property
    def topic_exists(self) -> bool:
        return self.partitions > 0

    @property
    def members(self) -> int:
        """Members of the group with partitions of this topic, or with none at all."""
        return sum(
            not member.assigned or any(topic == self.target.topic for topic, _ in member.assigned)
            for member in self.group.members
        )

    @property
    def idle_members(self) -> int:
        """Members without any partition."""
        return sum(not member.assigned for member in self.group.members)

    @property
    def has_run(self) -> bool:
        """The group has committed an offset here, or has members."""
        return bool(self.group.members) or any(row.committed is not None for row in self.rows)

    @property
    def waiting(self) -> int | None:
        """None before anything was consumed."""
        return sum(row.waiting for row in self.rows) if self.has_run else None

    @property
    def lag(self) -> int | None:
        """The sum of the lag that Kafka's own tool shows; None if it shows none."""
        known = [row.lag for row in self.rows if row.lag is not None]
        return sum(known) if known else None

    @property
    def lost(self) -> int:
        return sum(row.lost for row in self.rows)

    @property
    def rate(self) -> float | None:
        known = [row.rate for row in self.rows if row.rate is not None]
        return sum(known) if known else None

    @property
    def loss(self) -> Loss | None:
        """The soonest loss of all partitions."""
        return min((row.loss for row in self.rows if row.loss is not None), default=None)

    def lag_s(self, now_s: float) -> float | None:
        """Age of the oldest waiting message; 0 if none waits, None if unknown."""
        ages = [now_s - row.oldest_ms / 1000 for row in self.rows if row.oldest_ms is not None]
        if ages:
            return max(0.0, *ages)
        return 0.0 if self.waiting == 0 else None

    @property
    def causes(self) -> list[Cause]:
        """Of each partition in which others pass a message that is not delivered."""
        return [
            Cause(self.target.topic, row.index, min(row.held.open), *_words(row.held.why))
            for row in self.rows
            if row.held.open
        ]

    @property
    def skipped(self) -> Counter[str]:
        """Messages that the group's members have left out, by reason, since each got its
        partitions; as its last commits say.
        """
        counts: Counter[str] = Counter()
        for row in self.rows:
            counts.update(row.held.skipped)
        return counts

    @property
    def unowned(self) -> list[int]:
        """Partitions without an owner although the group is stable and has members."""
        if self.group.state != "stable" or not self.group.members:
            return []
        return [row.index for row in self.rows if row.owner is None]


def _words(why: str) -> tuple[str, str, str]:
    """Kind, destination and answer, as a commit's metadata has them in one text."""
    # Anybody may commit for a group, and a destination answers what it likes.
    kind, _, rest = printable(why).partition(" ")
    destination, _, answer = rest.partition(" ")
    return kind, destination, answer


class DeadLetterCount(NamedTuple):
    """Dead letters of a topic; those not replayed yet are ``waiting``."""

    waiting: int
    held: int


@dataclass(frozen=True, slots=True)
class Report:
    """``at_s`` is seconds since 1970. ``dead_letters`` has each dead letter topic with messages,
    ``unread`` the messages of each topic of the registry that no group here has consumed;
    ``missing_groups`` were asked for and consume nothing; ``unasked_groups`` have no members, and
    may be this program's.
    """

    at_s: float
    consumers: tuple[ConsumerStatus, ...]
    unread: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, DeadLetterCount] = field(default_factory=dict)
    missing_groups: list[str] = field(default_factory=list)
    unasked_groups: int = 0


Kind: TypeAlias = Literal[
    "lost", "at_risk", "stalled", "stopped", "unowned", "no_leader", "no_topic"
]


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem of one consumer. ``kind`` is stable, ``text`` is for people; ``command`` shows
    more, or fixes it.
    """

    kind: Kind
    name: str
    group: str
    topic: str
    partitions: tuple[int, ...]
    text: str
    command: str | None = None
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """Finds the issues in a report. A message may wait for ``stall_timeout_s``; a missing topic
    is an issue only of the consumers that are ``named``.
    """

    stall_timeout_s: float
    named: frozenset[str] = frozenset()

    def issues(self, report: Report) -> list[Issue]:
        """The worst first."""
        found: list[Issue] = []
        for check in (_lost, _at_risk, self._stuck, _unowned, _no_leader, self._no_topic):
            for status in report.consumers:
                found.extend(check(status, report.at_s))
        return found

    def _stuck(self, status: ConsumerStatus, now_s: float) -> Iterator[Issue]:
        late = [
            row
            for row in status.rows
            if row.oldest_ms is not None and now_s - row.oldest_ms / 1000 > self.stall_timeout_s
        ]
        if not late:
            return
        oldest_ms = min(row.oldest_ms for row in late if row.oldest_ms is not None)
        waits = f"a message has been waiting for {short_duration(now_s - oldest_ms / 1000)}"
        if not status.group.members:
            indexes = tuple(row.index for row in late)
            text = f"no active members, and {waits}"
            yield _issue("stopped", status, indexes, text)
            return
        still = tuple(row.index for row in late if row.owner is not None and row.rate == 0)
        if still:
            text = f"no progress in {name_partitions(still)}, and {waits}"
            causes = tuple(each for each in status.causes if each.partition in still)
            if not causes:
                text += _whose_log(status, still)
            yield replace(_issue("stalled", status, still, text), causes=causes)

    def _no_topic(self, status: ConsumerStatus, _: float) -> Iterator[Issue]:
        if not status.topic_exists and status.target.name in self.named:
            yield _issue("no_topic", status, (), "the topic does not exist")


def notes(report: Report, issues: Sequence[Issue] = ()) -> list[str]:
    """Facts that are not issues, but worth knowing; without causes that the issues have."""
    found = []
    named_causes = {cause for issue in issues for cause in issue.causes}
    missing = [status.target for status in report.consumers if not status.topic_exists]
    if missing:
        named = ", ".join(_with_topic(target.name, target.topic) for target in missing)
        found.append(f"Topics that do not exist on this cluster: {named}.")
    found += [
        f"Group {group!r} does not exist on this cluster: no members, no committed offsets."
        for group in report.missing_groups
    ]
    if report.unasked_groups:
        found.append(
            f"{counted(report.unasked_groups, 'group')} without members not looked at: name yours "
            "with --group."
        )
    for topic, messages in report.unread.items():
        found.append(
            f"{topic}: {counted(messages, 'message')}, not consumed by any group shown here."
        )
    for topic, (waiting, held) in report.dead_letters.items():
        if waiting:
            of_all = f" (of {held:,})" if held > waiting else ""
            count = counted(waiting, "dead letter")
            found.append(f"{topic}: {count} waiting{of_all}: consumer dlq list")
    for status in report.consumers:
        found.extend(_notes_of(status, named_causes))
    return found


def _notes_of(status: ConsumerStatus, named: Collection[Cause]) -> Iterator[str]:
    name = status.target.name
    if status.idle_members:
        yield (
            f"{name}: {status.idle_members} of {status.members} members idle, as the topic has "
            f"{counted(status.partitions, 'partition')}."
        )
    if skipped := status.skipped:
        reasons = ", ".join(f"{printable(why)} {n:,}" for why, n in skipped.most_common())
        yield f"{name}: skipped since the partitions were assigned: {reasons}."
    held = {row.index: counted(len(row.held.open), "message") for row in status.rows}
    for cause in status.causes:
        if cause not in named:
            yield f"{name}: {held[cause.partition]} held, others pass: {cause}"
    fresh = [row for row in status.rows if row.committed is None and row.waiting]
    if status.has_run and fresh:
        yield (
            f"{name}: {name_partitions([row.index for row in fresh])} without a committed offset "
            f"({counted(sum(row.waiting for row in fresh), 'message')})."
        )


def _lost(status: ConsumerStatus, _: float) -> Iterator[Issue]:
    indexes = tuple(row.index for row in status.rows if row.lost or row.past_end)
    if indexes:
        what = (
            f"{counted(status.lost, 'message')} deleted before being consumed"
            if status.lost
            else "the position is past the topic's end"
        )
        command = reset_command(status.target.group, status.target.topic)
        text = f"{what} ({name_partitions(indexes)})"
        yield replace(_issue("lost", status, indexes, text), command=command)


def _at_risk(status: ConsumerStatus, _: float) -> Iterator[Issue]:
    retention, loss = status.retention, status.loss
    if retention is None or loss is None:
        return
    limit_s = retention.low_s
    indexes = tuple(row.index for row in status.rows if row.loss and row.loss.seconds < limit_s)
    if indexes:
        text = (
            f"retention may delete unconsumed messages in {short_duration(loss.seconds)} "
            f"({name_partitions(indexes)}, by {loss.by})"
        )
        yield _issue("at_risk", status, indexes, text)


def _unowned(status: ConsumerStatus, _: float) -> Iterator[Issue]:
    indexes = tuple(status.unowned)
    if indexes:
        yield _issue("unowned", status, indexes, f"{name_partitions(indexes)} without an owner")


def _no_leader(status: ConsumerStatus, _: float) -> Iterator[Issue]:
    missing = tuple(sorted(set(range(status.partitions)) - {row.index for row in status.rows}))
    if missing:
        yield _issue("no_leader", status, missing, f"{name_partitions(missing)} without a leader")


def _issue(kind: Kind, status: ConsumerStatus, partitions: tuple[int, ...], text: str) -> Issue:
    target = status.target
    return Issue(kind, target.name, target.group, target.topic, partitions, text)


def name_partitions(indexes: Sequence[int]) -> str:
    """``partitions 0, 1, 2``, and how many more if there are many."""
    shown = ", ".join(map(str, indexes[:8]))
    more = f" and {len(indexes) - 8} more" if len(indexes) > 8 else ""
    return f"partition{'' if len(indexes) == 1 else 's'} {shown}{more}"


def _whose_log(status: ConsumerStatus, partitions: Sequence[int]) -> str:
    """Where to look for what Kafka does not know: whether a destination takes nothing."""
    owners = {row.owner for row in status.rows if row.index in partitions}
    members = sorted({str(each) for each in status.group.members if each.member_id in owners})
    return f"; see the log of {', '.join(members[:3])}" if members else ""


def _with_topic(name: str, topic: str) -> str:
    return name if name == topic else f"{name} ({topic})"
