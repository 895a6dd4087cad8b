"""What one look at the cluster has found: plain data, for the table, for JSON and for checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

from consumer_fleet.humanize import short_duration
from consumer_fleet.kafka.groups import Group, reset_command
from consumer_fleet.kafka.retention import Loss, Retention
from consumer_fleet.targets import Target


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition as one group stands in it. ``start`` and ``end`` (excluded) are what the
    broker holds. ``rate`` is messages per second, None before a second look.
    """

    index: int
    start: int
    end: int
    committed: int | None
    owner: str | None
    rate: float | None = None
    oldest_ms: int | None = None
    loss: Loss | None = None

    @property
    def lag(self) -> int | None:
        """As Kafka's own tool has it: None without a committed offset, and counting what is gone
        already.
        """
        return None if self.committed is None else self.end - self.committed

    @property
    def next_offset(self) -> int:
        """Where reading would go on."""
        return self.start if self.committed is None else max(self.start, self.committed)

    @property
    def waiting(self) -> int:
        """Offsets that are still to be read."""
        return max(0, self.end - self.next_offset)

    @property
    def lost(self) -> int:
        """Offsets that were deleted before they were read."""
        return 0 if self.committed is None else max(0, self.start - self.committed)

    @property
    def past_end(self) -> bool:
        return self.committed is not None and self.committed > self.end


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """One group on one topic. ``partitions`` is how many the topic has, 0 where it is not there;
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
        """Members of the group that are here for this topic, or for nothing at all."""
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
        """The group has committed here, or is at work."""
        return bool(self.group.members) or any(row.committed is not None for row in self.rows)

    @property
    def waiting(self) -> int | None:
        """None where nobody has begun to consume."""
        return sum(row.waiting for row in self.rows) if self.has_run else None

    @property
    def lag(self) -> int | None:
        """The sum of what Kafka's own tool shows; None where it shows nothing."""
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
        """The soonest of all partitions."""
        return min((row.loss for row in self.rows if row.loss is not None), default=None)

    def lag_s(self, now_s: float) -> float | None:
        """Age of the oldest message that waits; 0 where none does, None where it is unknown."""
        ages = [now_s - row.oldest_ms / 1000 for row in self.rows if row.oldest_ms is not None]
        if ages:
            return max(0.0, *ages)
        return 0.0 if self.waiting == 0 else None

    @property
    def unowned(self) -> list[int]:
        """Partitions that nobody reads although the group is settled and has members."""
        if self.group.state != "stable" or not self.group.members:
            return []
        return [row.index for row in self.rows if row.owner is None]


class DeadLetters(NamedTuple):
    """Of what a dead letter topic holds, that waits which ``consumer dlq replay`` has not sent."""

    waiting: int
    held: int


@dataclass(frozen=True, slots=True)
class Report:
    """``at_s`` is seconds since 1970. ``dead_letters`` has each dead letter topic that holds any,
    ``unread`` the messages of each topic of the registry that no group here has begun; ``nowhere``
    are groups that were asked for and consume nothing.
    """

    at_s: float
    consumers: tuple[ConsumerStatus, ...]
    unread: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[str, DeadLetters] = field(default_factory=dict)
    nowhere: list[str] = field(default_factory=list)


Kind: TypeAlias = Literal[
    "lost", "at_risk", "stalled", "stopped", "unowned", "no_leader", "no_topic"
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one consumer. ``kind`` is stable, ``text`` is for people;
    ``command`` shows more, or mends it.
    """

    kind: Kind
    name: str
    group: str
    topic: str
    partitions: tuple[int, ...]
    text: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """``stall_timeout_s`` is how long a message may wait before nobody taking it is wrong; a
    missing topic is wrong only of a consumer that was asked for by ``named``.
    """

    stall_timeout_s: float
    named: frozenset[str] = frozenset()

    def findings(self, report: Report) -> list[Finding]:
        """The worst first."""
        found: list[Finding] = []
        for check in (_lost, _at_risk, self._stuck, _unowned, _no_leader, self._no_topic):
            for status in report.consumers:
                found.extend(check(status, report.at_s))
        return found

    def _stuck(self, status: ConsumerStatus, now_s: float) -> Iterator[Finding]:
        late = [
            row
            for row in status.rows
            if row.oldest_ms is not None and now_s - row.oldest_ms / 1000 > self.stall_timeout_s
        ]
        if not late:
            return
        oldest_ms = min(row.oldest_ms for row in late if row.oldest_ms is not None)
        waits = f"a message has waited for {short_duration(now_s - oldest_ms / 1000)}"
        if not status.group.members:
            indexes = tuple(row.index for row in late)
            text = f"nobody is consuming, and {waits}"
            yield _finding("stopped", status, indexes, text)
            return
        still = tuple(row.index for row in late if row.owner is not None and row.rate == 0)
        if still:
            text = f"{_partitions(still)} not moving, and {waits}"
            yield _finding("stalled", status, still, text)

    def _no_topic(self, status: ConsumerStatus, _: float) -> Iterator[Finding]:
        if not status.topic_exists and status.target.name in self.named:
            yield _finding("no_topic", status, (), "its topic does not exist")


def notes(report: Report) -> list[str]:
    """What is not wrong, but worth knowing."""
    found = []
    missing = [status.target for status in report.consumers if not status.topic_exists]
    if missing:
        named = ", ".join(_with_topic(target.name, target.topic) for target in missing)
        found.append(f"No topic on this cluster: {named}.")
    found += [
        f"No group {group!r} on this cluster: it has no member and no offset."
        for group in report.nowhere
    ]
    for topic, messages in report.unread.items():
        found.append(f"{topic}: {messages:,} messages, and no group shown here has consumed any.")
    for topic, (waiting, held) in report.dead_letters.items():
        if waiting:
            of_all = f" of {held:,}" if held > waiting else ""
            found.append(f"{topic}: {waiting:,}{of_all} dead letters wait; see consumer dlq.")
    for status in report.consumers:
        if status.idle_members:
            found.append(
                f"{status.target.name}: {status.idle_members} of {status.members} members idle: "
                f"the topic has {status.partitions} partitions."
            )
        fresh = [row for row in status.rows if row.committed is None and row.waiting]
        if status.has_run and fresh:
            found.append(
                f"{status.target.name}: {_partitions(tuple(row.index for row in fresh))} without "
                f"a committed offset ({sum(row.waiting for row in fresh):,} messages)."
            )
    return found


def _lost(status: ConsumerStatus, _: float) -> Iterator[Finding]:
    indexes = tuple(row.index for row in status.rows if row.lost or row.past_end)
    if indexes:
        what = (
            f"{status.lost:,} messages were deleted before they were consumed"
            if status.lost
            else "the position lies past the topic's end"
        )
        command = reset_command(status.target.group, status.target.topic)
        text = f"{what} ({_partitions(indexes)})"
        yield replace(_finding("lost", status, indexes, text), command=command)


def _at_risk(status: ConsumerStatus, _: float) -> Iterator[Finding]:
    retention, loss = status.retention, status.loss
    if retention is None or loss is None:
        return
    limit_s = retention.low_s
    indexes = tuple(row.index for row in status.rows if row.loss and row.loss.seconds < limit_s)
    if indexes:
        text = (
            f"retention may delete unconsumed messages in {short_duration(loss.seconds)} "
            f"({_partitions(indexes)}, by {loss.by})"
        )
        yield _finding("at_risk", status, indexes, text)


def _unowned(status: ConsumerStatus, _: float) -> Iterator[Finding]:
    indexes = tuple(status.unowned)
    if indexes:
        yield _finding("unowned", status, indexes, f"no member reads {_partitions(indexes)}")


def _no_leader(status: ConsumerStatus, _: float) -> Iterator[Finding]:
    missing = tuple(sorted(set(range(status.partitions)) - {row.index for row in status.rows}))
    if missing:
        yield _finding("no_leader", status, missing, f"{_partitions(missing)} without a leader")


def _finding(kind: Kind, status: ConsumerStatus, partitions: tuple[int, ...], text: str) -> Finding:
    target = status.target
    return Finding(kind, target.name, target.group, target.topic, partitions, text)


def _partitions(indexes: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, indexes[:8])) + (", …" if len(indexes) > 8 else "")
    return f"partition{'s' if len(indexes) > 1 else ''} {shown}"


def _with_topic(name: str, topic: str) -> str:
    return name if name == topic else f"{name} ({topic})"
