"""What of a dead letter topic is replayed already, by its own group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from consumers.dlq.place import DeadLetterTopic
from fleet.errors import ConfigurationError, GroupIsActive
from fleet.kafka.groups import Group, Groups


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
