"""What the inspector keeps of one envelope, or of one message that is none: an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consumer_fleet.capture.envelope import Envelope

# What an entry's envelope may have. Each item costs some hundred bytes, however short it is.
MAX_ITEMS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the message was in Kafka. ``timestamp_ms`` is the broker's; None where unknown."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination answered, ``at`` seconds since 1970. ``status`` None: it did not."""

    destination: str
    status: int | None
    detail: str
    at: float


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a message was rejected, last, and where it was then."""

    reason: str
    detail: str
    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry on its way into the store. ``received_at`` is in seconds since 1970.

    ``raw`` is the envelope's bytes, decompressed. Where a message is no envelope, ``raw`` is the
    message's value, ``envelope`` is None, and ``undecodable`` says why.
    """

    raw: bytes
    envelope: Envelope | None
    received_at: float
    project: str = ""
    origin: Origin | None = None
    answers: tuple[Answer, ...] = ()
    dead_letter: DeadLetter | None = None
    undecodable: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """An entry as lists show it; its fields are the JSON API's. ``size_bytes`` is of ``raw``."""

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
    origin: Origin | None
    answers: tuple[Answer, ...]
    dead_letter: DeadLetter | None


_TERMS: Final = 10


@dataclass(frozen=True, slots=True)
class Filter:
    """``text`` is words, each of which must occur in what is searched, in any case of letters.

    ``dead`` True keeps dead letters only, False keeps the others.
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
        """A condition of constant text, and the values of its placeholders."""
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
            # A scan: 10,000 entries take a few milliseconds, and no index needs upkeep at inserts.
            parts.append("instr(searched, ?) > 0")
            values.append(word)
        return " AND ".join(parts) or "1", values
