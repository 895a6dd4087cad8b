"""The output of a consumer, parsed for a test: envelopes and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from consumer_fleet.capture.answers import Answer
from consumer_fleet.capture.delivery_loop import DeliveryLoop, Posts
from consumer_fleet.capture.dsn import MARK
from consumer_fleet.capture.envelope import parse
from consumer_fleet.capture.items import HAS_EVENT
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.dead_letter_headers import Headers, restore
from consumer_fleet.kafka.chunk import Record

# The header of ``envelope_origin``: it is not the message's own.
_ORIGIN: Final = "kafka"


class Origin(NamedTuple):
    """The original position of a message."""

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
        """The parsed payload. Raises ValueError if it is not JSON."""
        return orjson.loads(self.payload)


@dataclass(frozen=True)
class SentEnvelope:
    """An envelope as a destination received it. ``header`` is without the destination's members.

    ``origin`` is the position of its message, None if unknown.
    """

    destination: str
    origin: Origin | None
    event_id: str | None
    header: Mapping[str, Any] = field(repr=False)
    items: tuple[SentItem, ...]

    @property
    def event(self) -> Any:
        """The JSON of the event in it. Raises ValueError if it has none."""
        for item in self.items:
            if item.type in HAS_EVENT:
                return item.json
        raise ValueError(f"{self!r} has no event")

    def __repr__(self) -> str:
        items = ", ".join(item.type for item in self.items) or "nothing"
        return f"<envelope of {self.origin}, event_id={self.event_id}: {items}>"

    @classmethod
    def of_bytes(cls, destination: str, raw: bytes) -> SentEnvelope:
        """``raw`` is the request's body, decompressed."""
        envelope = parse(raw)
        header: dict[str, Any] = orjson.loads(envelope.header)
        origin = header.pop(_ORIGIN, None)
        return cls(
            destination,
            None if origin is None else Origin(**origin),
            envelope.event_id,
            {name: value for name, value in header.items() if not name.startswith(MARK)},
            tuple(
                SentItem(item.type, _without_framing(item.header), item.payload)
                for item in envelope.items
            ),
        )


@dataclass(frozen=True)
class DeadLettered:
    """A rejected message: the reason, the original message, and its position."""

    reason: str
    detail: str
    origin: Origin
    record: Record = field(repr=False)

    @classmethod
    def of_message(
        cls, key: bytes | None, value: bytes | None, headers: Headers
    ) -> DeadLettered | None:
        """Read a message of a dead-letter topic; None without dead-letter headers."""
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


# A destination's response to an envelope: a status, or a whole answer; None is 200.
Answers: TypeAlias = Callable[[SentEnvelope], int | Answer | None]


class InMemoryDestinations:
    """Keep the accepted envelopes by destination.

    Only the requests are not real: queues, retries, limits and pauses are the destination's own.
    """

    def __init__(self, answers: Answers | None, on_error: Callable[[BaseException], None]) -> None:
        self.accepted: dict[str, list[SentEnvelope]] = {"upstream": [], "saas": []}
        self._answers = answers
        self._on_error = on_error

    def open_posts(
        self, loop: DeliveryLoop, options: DestinationOptions, _headers: tuple[str, ...]
    ) -> Posts:
        """For ``build_transport``."""
        return _InMemoryPosts(loop, options.name, self.answer)

    def answer(self, destination: str, body: bytes) -> Answer:
        envelope = SentEnvelope.of_bytes(destination, body)
        answer = Answer(200)
        if self._answers is not None:
            try:
                answer = _as_answer(self._answers(envelope))
            # Also what pytest.fail raises: it belongs to the test, not to the worker's thread.
            except BaseException as error:
                self._on_error(error)
                return Answer(0, error="the test's answers failed")
        if 200 <= answer.status < 300:
            self.accepted[destination].append(envelope)
        return answer


class _InMemoryPosts:
    idle = 1

    def __init__(
        self, loop: DeliveryLoop, name: str, answer: Callable[[str, bytes], Answer]
    ) -> None:
        self._loop = loop
        self._name = name
        self._answer = answer

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        answer = self._answer(self._name, body)
        # Not at once: no socket's event would end the turn, which then waits as an idle one does.
        self._loop.defer(lambda: on_answer(answer))


def _as_answer(given: object) -> Answer:
    if given is None:
        return Answer(200)
    if isinstance(given, Answer):
        return given
    if isinstance(given, int) and 100 <= given <= 599:
        return Answer(given)
    raise TypeError(f"answers returned {given!r}: expected a status, an Answer, or None for 200")
