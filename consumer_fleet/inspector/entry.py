"""Entries: what the inspector stores of one envelope, or of one undecodable message."""

from __future__ import annotations

from dataclasses import dataclass
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
    """An entry in a list. Its fields are the JSON API's; ``size_bytes`` is that of ``raw``."""

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


_TERMS: Final = 10


@dataclass(frozen=True, slots=True)
class Filter:
    """``text`` is words that must all occur in the searched text; case is ignored.

    ``dead`` True selects dead letters, False all others.
    """

    text: str = ""
    type: str | None = None
    level: str | None = None
    dead: bool | None = None

    @property
    def is_empty(self) -> bool:
        return not self.text.split() and self._exact == (None, None, None)

    @property
    def _exact(self) -> tuple[str | None, str | None, bool | None]:
        return self.type, self.level, self.dead

    def condition(self) -> tuple[str, list[str | int]]:
        """The SQL condition, made of constants, and the values of its placeholders."""
        parts: list[str] = []
        values: list[str | int] = []
        if self.type is not None:
            parts.append("type = ?")
            values.append(self.type)
        if self.level is not None:
            parts.append("level = ?")
            values.append(self.level)
        if self.dead is not None:
            parts.append(f"dead_letter IS {'NOT ' if self.dead else ''}NULL")
        for word in self.text.casefold().split()[:_TERMS]:
            # A scan: 10,000 entries take a few milliseconds, and inserts have no index to update.
            parts.append("instr(searched, ?) > 0")
            values.append(word)
        return " AND ".join(parts) or "1", values
