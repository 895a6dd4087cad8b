"""Dead letters as they are read: from their topic, or from a file that was made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.consumers import registry
from consumer_fleet.dead_letter_headers import Facts, Restored, restore
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.targets import (
    consumer_of_topic,
    default_dead_letter_topic,
    named_topic,
    options_for,
)

#: Stands for the reason of a message without a dead letter's headers.
NO_DEAD_LETTER = "(no dead letter)"
_READ_TIMEOUT_S = 0.1


class Letter(NamedTuple):
    """One message of a dead letter topic, and what its headers say; None where that is nothing."""

    partition: int
    record: Record
    restored: Restored | None

    @property
    def place(self) -> str:
        return f"{self.partition}/{self.record.offset}"

    @property
    def facts(self) -> Facts | None:
        """Of the latest rejection."""
        return None if self.restored is None else self.restored.last

    @property
    def reason(self) -> str:
        return NO_DEAD_LETTER if self.restored is None else self.restored.last.reason

    @property
    def origin(self) -> Facts | None:
        """Of the first rejection, which says where the message came from."""
        return None if self.restored is None else self.restored.origin


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant: of one of these reasons, and from there. All by default."""

    reasons: frozenset[str] = frozenset()
    topic: str | None = None
    partition: int | None = None

    @classmethod
    def parse(cls, reasons: Iterable[str], origin: str | None) -> Selection:
        """``origin`` is TOPIC or TOPIC/PARTITION. Raises ConfigurationError if it is neither."""
        if origin is None:
            return cls(frozenset(reasons))
        topic, separator, partition = origin.partition("/")
        is_number = partition.isascii() and partition.isdigit() and len(partition) <= 10
        if not topic or (separator and not is_number):
            raise ConfigurationError(f"--origin {origin!r}: expected TOPIC or TOPIC/PARTITION")
        return cls(frozenset(reasons), topic, int(partition) if separator else None)

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    def takes(self, letter: Letter) -> bool:
        if self.reasons and letter.reason not in self.reasons:
            return False
        if self.topic is None:
            return True
        origin = letter.origin
        return (
            origin is not None
            and origin.topic == self.topic
            and self.partition in (None, origin.partition)
        )

    def __str__(self) -> str:
        """For people and for a recording's header."""
        parts = [f"reason {reason}" for reason in sorted(self.reasons)]
        if self.topic is not None:
            partition = "" if self.partition is None else f"/{self.partition}"
            parts.append(f"origin {self.topic}{partition}")
        return ", ".join(parts)


class LettersTopic:
    """The dead letters of a topic between two places, read without a group; a context manager.

    ``within`` narrows it by partition: from the first offset up to the second, excluded.
    Construction blocks on the broker. Raises ConfigurationError where there is no such topic or it
    may not be read, KafkaUnreachable where no broker answers.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        *,
        start: OffsetSpec = EARLIEST,
        end: OffsetSpec = LATEST,
        within: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self._within = within
        self.reader = TopicReader(kafka, topic, start=start, end=end)

    def letters(self) -> Iterator[Letter]:
        """All of them. Blocks on the broker."""
        for letter in self.letters_or_none():
            if letter is not None:
                yield letter

    def letters_or_none(self) -> Iterator[Letter | None]:
        """The same with a None wherever nothing has arrived yet."""
        while not self.reader.at_end:
            messages = self.reader.read(timeout_s=_READ_TIMEOUT_S)
            if not messages:
                yield None
            for message in messages:
                partition = message.partition() or 0
                record = Record.from_kafka(message)
                if self._is_within(partition, record.offset):
                    yield Letter(partition, record, restore(record.headers))

    def _is_within(self, partition: int, offset: int) -> bool:
        if self._within is None:
            return True
        start, end = self._within.get(partition, (0, 0))
        return start <= offset < end

    def __enter__(self) -> LettersTopic:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()


def letters_in(recording: Recording) -> Iterator[Letter]:
    """Those of a file: an export, or what a replay rejected. Raises RecordingError at damage."""
    for partition, record in recording.messages():
        yield Letter(partition, record, restore(record.headers))


_GROUP_PREFIX = "consumer-fleet-dlq-"


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """``consumer`` is the registry's consumer whose rejected messages they are, where one is
    named: several consumers may share a topic.
    """

    name: str
    consumer: str | None

    @property
    def group(self) -> str:
        """Its committed offsets say up to where the dead letters are replayed."""
        return f"{_GROUP_PREFIX}{self.name}"


def dead_letter_topic(topic: str | None, named: str | None, options: Options) -> DeadLetterTopic:
    """The topic that ``--dlq-topic`` names, or that of ``--topic``, a consumer or a topic's name on
    the brokers; by the rule of ``consumer run``. Raises ConfigurationError where none is named.
    """
    known = registry.names()
    source = topic or options.topic
    if source is not None:
        options = options_for(source, options)
    if named is None and source == options.topic:
        named = options.dlq_topic
    if named is None:
        if source is None:
            raise ConfigurationError(
                "no dead letter topic is named: give --topic, the consumer whose messages were "
                f"rejected (one of {', '.join(known)}, or a topic's name), or --dlq-topic"
            )
        named = default_dead_letter_topic(named_topic(source, options).physical)
    return DeadLetterTopic(named, source if source in known else None)


def consumer_of(topic: str | None, named: str | None, options: Options) -> str | None:
    """The consumer of the topic that a dead letter came from, else the one that was named."""
    found = None if topic is None else consumer_of_topic(topic, options)
    return named if found is None else found.name


def consumers_of(
    topics: Iterable[str | None], named: str | None, options: Options
) -> dict[str, str]:
    """Topic of origin → consumer. Raises ConfigurationError where that is not known for one."""
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
