"""What of a dead letter topic is replayed already, by its own group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from consumer_fleet.dlq.letters import DeadLetterTopic, Letter
from consumer_fleet.errors import ConfigurationError, GroupIsActive
from consumer_fleet.kafka.groups import Group, Groups
from consumer_fleet.printable import printable


@dataclass(frozen=True, slots=True)
class Standing:
    """Per partition the first and the end offset, and up to where it is replayed."""

    group: Group
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    replayed: Mapping[int, int]

    @property
    def partitions(self) -> int:
        return len(self.ends)

    @property
    def held(self) -> int:
        """Messages that are there, gaps counted in."""
        return sum(end - self.starts.get(index, end) for index, end in self.ends.items())

    @property
    def next(self) -> dict[int, int]:
        """Where an unfiltered replay begins. A lost place counts as the oldest that is there."""
        return {
            index: max(start, self.replayed.get(index, start))
            for index, start in self.starts.items()
        }

    @property
    def left(self) -> int:
        """Messages that are not replayed, gaps counted in."""
        start = self.next
        return sum(max(0, end - start[index]) for index, end in self.ends.items())

    def refuse_a_second(self) -> None:
        """Raise GroupIsActive while a replay of these dead letters runs."""
        if self.group.members:
            who = ", ".join(str(member) for member in self.group.members[:3])
            raise GroupIsActive(
                f"these dead letters are being replayed now: group {self.group.name!r} has "
                f"{len(self.group.members)} active member(s): {who}; wait for that to end"
            )


def standing(kafka: Mapping[str, Any], place: DeadLetterTopic) -> Standing:
    """Ask the cluster. Raises ConfigurationError where there is no such topic."""
    with Groups(kafka) as groups:
        partitions = groups.topics().get(place.name)
        if not partitions:
            raise ConfigurationError(
                f"there is no topic {place.name!r} on {kafka['bootstrap.servers']}: nothing was "
                "ever rejected, or it has another name (--dlq-topic), or it may not be read"
            )
        spots = [(place.name, index) for index in partitions]
        return Standing(
            groups.describe([place.group])[place.group],
            {index: offset for (_, index), offset in groups.starts(spots).items()},
            {index: offset for (_, index), offset in groups.ends(spots).items()},
            {index: offset for (_, index), offset in groups.committed(place.group, spots).items()},
        )


# Places of origin that are kept apart per reason; a topic may have thousands of partitions.
_MAX_ORIGINS = 1000


@dataclass(slots=True)
class ReasonTally:
    """The dead letters of one reason. Times are the broker's at the dead letter's arrival."""

    reason: str
    count: int = 0
    size: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    #: ``topic/partition`` → how many came from there.
    origins: Counter[str] = field(default_factory=Counter)
    example: Letter | None = None

    def add(self, letter: Letter) -> None:
        self.count += 1
        self.size += letter.record.size
        times = (letter.record.timestamp_ms, self.oldest_ms, self.newest_ms)
        known = [each for each in times if each is not None]
        self.oldest_ms, self.newest_ms = min(known, default=None), max(known, default=None)
        if self.example is None:
            self.example = letter
        if letter.origin is not None:
            place = f"{letter.origin.topic}/{letter.origin.partition}"
            if place in self.origins or len(self.origins) < _MAX_ORIGINS:
                self.origins[place] += 1


class Tally:
    """Counts by reason, and by topic of origin (None for what names none)."""

    def __init__(self, letters: Iterable[Letter] = ()) -> None:
        self._reasons: dict[str, ReasonTally] = {}
        self.topics: Counter[str | None] = Counter()
        for letter in letters:
            self.add(letter)

    def add(self, letter: Letter) -> None:
        self._reasons.setdefault(letter.reason, ReasonTally(letter.reason)).add(letter)
        self.topics[None if letter.origin is None else letter.origin.topic] += 1

    @property
    def total(self) -> int:
        return self.topics.total()

    @property
    def by_reason(self) -> list[ReasonTally]:
        """Most first."""
        return sorted(self._reasons.values(), key=lambda each: (-each.count, each.reason))

    @property
    def strangers(self) -> int:
        """Messages that are no dead letters."""
        return self.topics[None]

    @property
    def counted(self) -> str:
        """``300 dead letters``, and what of it is none."""
        dead = self.total - self.strangers
        if not self.strangers:
            return f"{dead:,} dead letters"
        if not dead:
            return f"{self.strangers:,} messages that are no dead letters"
        return f"{dead:,} dead letters and {self.strangers:,} messages that are none"

    def as_document(self) -> dict[str, int]:
        """By reason, as ``--json`` prints it."""
        return {each.reason: each.count for each in self.by_reason}

    def __str__(self) -> str:
        """``invalid_json 300, http_400 12``."""
        return ", ".join(f"{printable(each.reason)} {each.count:,}" for each in self.by_reason)
