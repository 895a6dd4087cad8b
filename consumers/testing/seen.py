"""What came out of a consumer, parsed for a test to look at: envelopes and dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import orjson

from fleet.capture.envelope import parse
from fleet.dead_letter_headers import Headers, restore
from fleet.kafka.chunk import Record

# Says where the message was (``envelope_origin``); it is not the message's own.
_ORIGIN: Final = "kafka"


class Origin(NamedTuple):
    """Where a message was."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"


@dataclass(frozen=True)
class SentItem:
    """One item of an envelope. ``header`` is without ``type`` and ``length``."""

    type: str
    header: Mapping[str, Any]
    payload: bytes = field(repr=False)

    @cached_property
    def json(self) -> Any:
        """The payload, parsed. Raises ValueError where it is no JSON."""
        return orjson.loads(self.payload)


@dataclass(frozen=True)
class SentEnvelope:
    """An envelope as a destination got it. ``header`` is without ``dsn`` and ``sent_at``.

    ``origin`` is the place of its message; None where nothing tells it.
    """

    destination: str
    origin: Origin | None
    event_id: str | None
    header: Mapping[str, Any] = field(repr=False)
    items: tuple[SentItem, ...]

    @property
    def event(self) -> Any:
        """The JSON of the event or transaction in it. Raises ValueError where it has none."""
        for item in self.items:
            if item.type in ("event", "transaction"):
                return item.json
        raise ValueError(f"{self!r} has no event")

    def __repr__(self) -> str:
        items = ", ".join(item.type for item in self.items) or "nothing"
        return f"<envelope of {self.origin}, event_id={self.event_id}: {items}>"

    @classmethod
    def of_bytes(cls, destination: str, raw: bytes) -> SentEnvelope:
        """``raw`` is what was sent, decompressed."""
        envelope = parse(raw)
        header: dict[str, Any] = orjson.loads(envelope.header)
        place = header.pop(_ORIGIN, None)
        return cls(
            destination,
            None if place is None else Origin(**place),
            envelope.event_id,
            header,
            tuple(
                SentItem(item.type, _without_framing(item.header), item.payload)
                for item in envelope.items
            ),
        )


@dataclass(frozen=True)
class DeadLettered:
    """A rejected message: why, the message as it was, and where."""

    reason: str
    detail: str
    origin: Origin
    record: Record = field(repr=False)

    @classmethod
    def of_message(
        cls, key: bytes | None, value: bytes | None, headers: Headers
    ) -> DeadLettered | None:
        """From a message of a dead letter topic; None if it is no dead letter."""
        restored = restore(headers)
        if restored is None:
            return None
        facts = restored.last
        return cls(
            facts.reason,
            facts.detail,
            Origin(facts.topic, facts.partition, facts.offset),
            Record(facts.offset, facts.timestamp_ms, key, value, restored.headers),
        )


def _without_framing(header: bytes) -> dict[str, Any]:
    members: dict[str, Any] = orjson.loads(header)
    return {name: value for name, value in members.items() if name not in ("type", "length")}
