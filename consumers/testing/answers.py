"""Destinations in memory: what a replay has instead of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from consumers.testing.seen import SentEnvelope
from fleet.capture.delivery_loop import DeliveryLoop
from fleet.capture.http_posts import Answer, PostOptions, Posts

# What a destination does with an envelope: a status, or a whole answer; None is 200.
Answers: TypeAlias = Callable[[SentEnvelope], int | Answer | None]


class InMemoryDestinations:
    """Keeps the envelopes that it accepts, by destination.

    Only the requests are not real: queues, retries, limits and pauses are the destination's own.
    """

    def __init__(self, answers: Answers | None, on_error: Callable[[BaseException], None]) -> None:
        self.accepted: dict[str, list[SentEnvelope]] = {"upstream": [], "saas": []}
        self._answers = answers
        self._on_error = on_error

    def open_posts(self, name: str, _loop: DeliveryLoop, _options: PostOptions) -> Posts:
        """For ``build_transport``."""
        return _InMemoryPosts(name, self.answer)

    def answer(self, destination: str, body: bytes) -> Answer:
        envelope = SentEnvelope.of_bytes(destination, body)
        answer = Answer(200)
        if self._answers is not None:
            try:
                answer = _as_answer(self._answers(envelope))
            # Also what pytest.fail raises: it belongs to the test, not into the worker's thread.
            except BaseException as error:
                self._on_error(error)
                return Answer(0, error="the test's answers failed")
        if 200 <= answer.status < 300:
            self.accepted[destination].append(envelope)
        return answer


class _InMemoryPosts:
    idle = 1

    def __init__(self, name: str, answer: Callable[[str, bytes], Answer]) -> None:
        self._name = name
        self._answer = answer

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        on_answer(self._answer(self._name, body))


def _as_answer(given: object) -> Answer:
    if given is None:
        return Answer(200)
    if isinstance(given, Answer):
        return given
    if isinstance(given, int) and 100 <= given <= 599:
        return Answer(given)
    raise TypeError(f"answers returned {given!r}: expected a status, an Answer, or None for 200")
