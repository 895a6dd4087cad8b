"""A dead-letter topic: which one is meant, and up to where it is replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from consumer_fleet.bootstrap.option_checks import only_topic
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.consumers import registry
from consumer_fleet.errors import ConfigurationError, GroupIsActive
from consumer_fleet.humanize import counted
from consumer_fleet.kafka.groups import Group, Groups
from consumer_fleet.targets import (
    consumer_of_topic,
    default_dead_letter_topic,
    named_topic,
    options_for,
)

#: Of the groups whose committed offsets say up to where dead letters are replayed.
DLQ_GROUP_PREFIX = "consumer-fleet-dlq-"


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """``consumer`` is the consumer that rejected the messages, if one is named: several consumers
    may share a topic.
    """

    name: str
    consumer: str | None

    @property
    def group(self) -> str:
        """The group whose committed offsets are the replay position."""
        return f"{DLQ_GROUP_PREFIX}{self.name}"


def dead_letter_topic(topic: str | None, named: str | None, options: Options) -> DeadLetterTopic:
    """Return the topic that ``--dlq-topic`` names, or the one of ``--topic`` (a consumer, or a
    topic's name on the brokers) by the rule of ``consumer run``.

    Raises ConfigurationError if neither is given.
    """
    known = registry.names()
    source = topic or only_topic(options)
    if source is not None:
        options = options_for(source, options)
    if named is None and source == only_topic(options):
        named = options.dlq_topic
    if named is None:
        if source is None:
            raise ConfigurationError(
                "no dead-letter topic is named: give --topic, the consumer whose messages were "
                f"rejected (one of {', '.join(known)}, or a topic's name), or --dlq-topic"
            )
        named = default_dead_letter_topic(named_topic(source, options).physical)
    return DeadLetterTopic(named, source if source in known else None)


def consumer_of(topic: str | None, named: str | None, options: Options) -> str | None:
    """Return the consumer of the topic of origin, else the one that was named."""
    found = None if topic is None else consumer_of_topic(topic, options)
    return named if found is None else found.name


def consumers_of(
    topics: Iterable[str | None], named: str | None, options: Options
) -> dict[str, str]:
    """Map topics of origin to consumers. Raises ConfigurationError if one has no known consumer."""
    found: dict[str, str] = {}
    for topic in topics:
        consumer = consumer_of(topic, named, options)
        if topic is None:
            raise ConfigurationError(
                "some of them do not say where they came from (no dlq.* headers): name their "
                "consumer with --through, or leave them out with --reason or --origin"
            )
        if consumer is None:
            raise ConfigurationError(
                f"no consumer is known for what came from topic {topic!r}: name it with --through"
            )
        found[topic] = consumer
    return found


# -- up to where it is replayed --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReplayPosition:
    """First and end offset per partition, and the offset up to which it is replayed."""

    group: Group
    starts: Mapping[int, int]
    ends: Mapping[int, int]
    replayed: Mapping[int, int]

    @property
    def partitions(self) -> int:
        return len(self.ends)

    @property
    def held(self) -> int:
        """The number of messages in the topic, gaps included."""
        return sum(end - self.starts.get(index, end) for index, end in self.ends.items())

    @property
    def next(self) -> dict[int, int]:
        """The offsets at which an unfiltered replay begins; a lost one counts as the oldest."""
        return {
            index: max(start, self.replayed.get(index, start))
            for index, start in self.starts.items()
        }

    @property
    def waiting(self) -> int:
        """The number of messages that are not replayed yet, gaps included."""
        start = self.next
        return sum(max(0, end - start.get(index, end)) for index, end in self.ends.items())

    def refuse_concurrent_replay(self) -> None:
        """Raise GroupIsActive while a replay of these dead letters runs."""
        members = self.group.members
        if members:
            who = ", ".join(str(member) for member in members[:3])
            raise GroupIsActive(
                f"these dead letters are being replayed: group {self.group.name!r} has "
                f"{counted(len(members), 'active member')}: {who}; wait until that replay has ended"
            )

    def __str__(self) -> str:
        """For people: ``Group G: none replayed yet (19 waiting)``."""
        return f"Group {self.group.name}: {self.progress}"

    @property
    def progress(self) -> str:
        if not self.waiting:
            return "all replayed" if self.held else "nothing to replay"
        if not self.replayed:
            return f"none replayed yet ({self.waiting:,} waiting)"
        return f"{self.waiting:,} waiting"


def replay_position(kafka: Mapping[str, Any], topic: DeadLetterTopic) -> ReplayPosition:
    """Ask the cluster. Raises ConfigurationError if there is no such topic."""
    with Groups(kafka) as groups:
        partitions = groups.topics().get(topic.name)
        if not partitions:
            raise ConfigurationError(
                f"there is no topic {topic.name!r} on {kafka['bootstrap.servers']}: nothing was "
                "rejected yet, or it has another name (--dlq-topic), or access to it is denied"
            )
        spots = [(topic.name, index) for index in partitions]
        return ReplayPosition(
            groups.describe([topic.group])[topic.group],
            {index: offset for (_, index), offset in groups.starts(spots).items()},
            {index: offset for (_, index), offset in groups.ends(spots).items()},
            {index: offset for (_, index), offset in groups.committed(topic.group, spots).items()},
        )
