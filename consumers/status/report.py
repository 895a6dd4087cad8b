"""What one look at the cluster has found: plain data, for the table, for JSON and for checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from consumers.targets import Target
from fleet.kafka.groups import Group
from fleet.kafka.retention import Loss, Retention


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
