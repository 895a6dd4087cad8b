"""Entries: what the inspector stores of one envelope, or of one undecodable message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from consumer_fleet.capture.envelope import Envelope

# Each item of an envelope costs some hundred bytes of memory, however short it is.
MAX_ITEMS: Final = 10_000

SourceKind: TypeAlias = Literal["receiver", "topic", "dlq", "recording", "demo"]


@dataclass(slots=True)
class EntrySource:
    """The source of the entries. ``problem`` says why it ended, if it failed."""

    kind: SourceKind = "receiver"
    name: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class KafkaPosition:
    """A message's position in Kafka. ``timestamp_ms`` is the broker's; None if unknown."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """A destination's response, ``at`` seconds since 1970. ``status`` None: no response."""

    destination: str
    status: int | None
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a message was last rejected, by which group, and its position at that time."""

    reason: str
    detail: str
    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry on its way into the store. ``received_at`` is in seconds since 1970.

    ``raw`` is the envelope's bytes, decompressed. For an undecodable message, ``raw`` is the
    message's value, ``envelope`` is None, and ``undecodable`` is the reason.
    """

    raw: bytes
    envelope: Envelope | None
    received_at: float
    project: str = ""
    origin: KafkaPosition | None = None
    answers: tuple[DeliveryResponse, ...] = ()
    dead_letter: Rejection | None = None
    undecodable: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """An entry in a list. Its fields are the JSON API's; ``size_bytes`` is that of ``raw``.

    ``issue`` is common to the events of one cause.
    """

    id: int
    event_id: str | None
    received_at: float
    project: str
    type: str
    level: str | None
    title: str
    culprit: str
    platform: str | None
    item_types: tuple[str, ...]
    size_bytes: int
    origin: KafkaPosition | None
    answers: tuple[DeliveryResponse, ...]
    dead_letter: Rejection | None
    issue: str | None


_TERMS: Final = 10
_TERM_CHARS: Final = 100
# The index is of sequences of three characters; every third one of a word finds its candidates.
_INDEXED_CHARS: Final = 3
# The column of each exact filter, as an SQL expression.
_TOPIC: Final = "coalesce(json_extract(dead_letter, '$.topic'), json_extract(origin, '$.topic'))"
EXACT: Final = MappingProxyType(
    {
        "level": "level",
        "project": "project",
        "platform": "platform",
        "topic": _TOPIC,
        "reason": "json_extract(dead_letter, '$.reason')",
        "issue": "issue",
    }
)


@dataclass(frozen=True, slots=True)
class Filter:
    """``text`` is words that must all occur in the searched text; case is ignored.

    ``type`` is an entry's, or one of its items'. ``topic`` is the original one of a dead letter.
    ``dead`` True selects dead letters, False all others.
    """

    text: str = ""
    type: str | None = None
    level: str | None = None
    project: str | None = None
    platform: str | None = None
    topic: str | None = None
    reason: str | None = None
    issue: str | None = None
    dead: bool | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text.split() and replace(self, text="") == Filter()

    def condition(self) -> tuple[str, list[str | int]]:
        """The SQL condition, made of constants, and the values of its placeholders."""
        parts: list[str] = []
        values: list[str | int] = []
        for name, column in EXACT.items():
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{column} = ?")
                values.append(value)
        if self.type is not None:
            of_item = "EXISTS (SELECT 1 FROM json_each(item_types) AS item WHERE item.value = ?)"
            parts.append(f"(type = ? OR {of_item})")
            values += [self.type, self.type]
        if self.dead is not None:
            parts.append(f"dead_letter IS {'NOT ' if self.dead else ''}NULL")
        words = [word[:_TERM_CHARS] for word in self.text.casefold().split()[:_TERMS]]
        if words:
            found = ["instr(searched, ?) > 0"] * len(words)
            indexed = _match(words)
            if indexed:
                found.insert(0, "search MATCH ?")
                values.append(indexed)
            values += words
            matching = " AND ".join(found)
            parts.append(f"id IN (SELECT rowid FROM search WHERE {matching})")  # noqa: S608 - constants
        return " AND ".join(parts) or "1", values


def _match(words: list[str]) -> str:
    """The query of the index for texts that may have all the words; "" if all are too short."""
    grams = {
        word[start:][:_INDEXED_CHARS]
        for word in words
        for start in (*range(0, len(word) - _INDEXED_CHARS, _INDEXED_CHARS), -_INDEXED_CHARS)
        if len(word) >= _INDEXED_CHARS
    }
    return " AND ".join('"' + gram.replace('"', '""') + '"' for gram in sorted(grams))
