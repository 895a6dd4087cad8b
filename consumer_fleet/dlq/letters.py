"""Dead letters as they are read, from their topic or a file; chosen, and counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from consumer_fleet.dead_letter_headers import Facts, Restored, restore
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.humanize import counted
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec, parse_offset_spec
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.printable import printable
from consumer_fleet.recording.reader import Recording

#: The reason of a message without a dead letter's headers.
NO_DEAD_LETTER = "(not a dead letter)"
_READ_TIMEOUT_S = 0.1
# Origins that are counted apart per reason; a topic may have thousands of partitions.
_MAX_ORIGINS = 1000


class Letter(NamedTuple):
    """One message of a dead-letter topic; ``restored`` is None without a dead letter's headers."""

    partition: int
    record: Record
    restored: Restored | None

    @property
    def position(self) -> str:
        return f"{self.partition}/{self.record.offset}"

    @property
    def facts(self) -> Facts | None:
        """The latest rejection."""
        return None if self.restored is None else self.restored.last

    @property
    def reason(self) -> str:
        return NO_DEAD_LETTER if self.restored is None else self.restored.last.reason

    @property
    def origin(self) -> Facts | None:
        """The first rejection, which says where the message came from."""
        return None if self.restored is None else self.restored.origin


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters by reason and origin. All by default."""

    reasons: frozenset[str] = frozenset()
    topic: str | None = None
    partition: int | None = None
    #: Only those whose ``dlq.due_ms`` is not later than this.
    due_ms: int | None = None

    @classmethod
    def parse(cls, reasons: Iterable[str], origin: str | None) -> Selection:
        """``origin`` is TOPIC or TOPIC/PARTITION. Raises ConfigurationError otherwise."""
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
        if self.due_ms is not None:
            due_ms = None if letter.facts is None else letter.facts.due_ms
            if due_ms is None or due_ms > self.due_ms:
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
        if self.due_ms is not None:
            parts.append("due")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """The dead letters that a command is about: ``selection`` between two positions.

    ``positions`` are those that were given, for people.
    """

    selection: Selection = Selection()
    since: OffsetSpec | None = None
    until: OffsetSpec | None = None
    positions: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls,
        reasons: Iterable[str],
        origin: str | None,
        since: str | None,
        until: str | None,
        *,
        due: bool = False,
    ) -> LetterFilter:
        """Parse the command line's values. Raises ConfigurationError."""
        now_s = time.time()
        given = {"since": since, "until": until}
        selection = Selection.parse(reasons, origin)
        return cls(
            replace(selection, due_ms=round(now_s * 1000)) if due else selection,
            None if since is None else parse_offset_spec(since, now_s),
            None if until is None else parse_offset_spec(until, now_s),
            tuple(f"{name} {text}" for name, text in given.items() if text is not None),
        )

    @property
    def start(self) -> OffsetSpec:
        return self.since or EARLIEST

    @property
    def end(self) -> OffsetSpec:
        return self.until or LATEST

    @property
    def is_everything(self) -> bool:
        return self.selection.is_everything and self.since is None and self.until is None

    def __str__(self) -> str:
        """For people."""
        chosen = () if self.selection.is_everything else (str(self.selection),)
        return ", ".join((*chosen, *self.positions))


class LettersTopic:
    """The dead letters of a topic between two positions, read without a group; a context manager.

    ``within`` narrows it by partition: from the first offset to the second, excluded. Construction
    blocks on the broker. Raises ConfigurationError if there is no such topic or it may not be read,
    KafkaUnreachable if no broker answers.
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
        """Yield all of them. Blocks on the broker."""
        for letter in self.letters_or_none():
            if letter is not None:
                yield letter

    def letters_or_none(self) -> Iterator[Letter | None]:
        """Yield all of them, and None whenever nothing has arrived yet."""
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
    """Yield those of a file: an export, or what a replay rejected. Raises RecordingError."""
    for partition, record in recording.messages():
        yield Letter(partition, record, restore(record.headers))


@dataclass(slots=True)
class ReasonCounts:
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
            origin = f"{letter.origin.topic}/{letter.origin.partition}"
            if origin in self.origins or len(self.origins) < _MAX_ORIGINS:
                self.origins[origin] += 1


class DeadLetterCounts:
    """Counts by reason, and by topic of origin (None for messages without one)."""

    def __init__(self, letters: Iterable[Letter] = ()) -> None:
        self._reasons: dict[str, ReasonCounts] = {}
        self.topics: Counter[str | None] = Counter()
        for letter in letters:
            self.add(letter)

    def add(self, letter: Letter) -> None:
        self._reasons.setdefault(letter.reason, ReasonCounts(letter.reason)).add(letter)
        self.topics[None if letter.origin is None else letter.origin.topic] += 1

    @property
    def total(self) -> int:
        return self.topics.total()

    @property
    def by_reason(self) -> list[ReasonCounts]:
        """Most first."""
        return sorted(self._reasons.values(), key=lambda each: (-each.count, each.reason))

    @property
    def other_messages(self) -> int:
        """The number of messages that are not dead letters."""
        return self.topics[None]

    @property
    def described(self) -> str:
        """``300 dead letters``, or also what else is there."""
        dead = self.total - self.other_messages
        if not self.other_messages:
            return counted(dead, "dead letter")
        if not dead:
            return f"{counted(self.other_messages, 'message')} without dead-letter headers"
        return f"{counted(dead, 'dead letter')} and {counted(self.other_messages, 'other message')}"

    def as_document(self) -> dict[str, int]:
        """By reason, as ``--json`` prints it."""
        return {each.reason: each.count for each in self.by_reason}

    def __str__(self) -> str:
        """``invalid_json 300, http_400 12``."""
        return ", ".join(f"{printable(each.reason)} {each.count:,}" for each in self.by_reason)
