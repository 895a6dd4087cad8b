"""What the inspector keeps of one envelope, or of one message that is none: an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.capture.envelope import Envelope

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
