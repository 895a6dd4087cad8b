"""A topic is watched without blocking: its id, and its absence."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from consumer_fleet.kafka.topic_watch import TopicWatch
from tests.support.clock import ManualClock


class Admin:
    """Answers with ``answer``, at once; None leaves the question open."""

    def __init__(self) -> None:
        self.answer: str | int | None = "first"
        self.asked = 0

    def describe_topics(
        self, _topics: TopicCollection, request_timeout: float
    ) -> dict[str, Future[Any]]:
        self.asked += 1
        future: Future[Any] = Future()
        if isinstance(self.answer, int):
            future.set_exception(KafkaException(KafkaError(self.answer)))
        elif self.answer is not None:
            future.set_result(SimpleNamespace(topic_id=self.answer))
        return {"events": future}


@pytest.fixture
def admin() -> Admin:
    return Admin()


def later(watch: TopicWatch, clock: ManualClock) -> None:
    """Let it ask once more, and take the answer."""
    clock.now += 5.0
    watch.poll()
    watch.poll()


def test_a_new_id_is_seen_and_nothing_blocks(admin: Admin) -> None:
    clock = ManualClock()
    watch = TopicWatch(admin, "events", clock)  # type: ignore[arg-type]  # a stand-in
    watch.ask()
    assert watch.topic_id == "first"
    admin.answer = "second"
    later(watch, clock)
    assert watch.topic_id == "second"
    admin.answer = None
    later(watch, clock)
    asked = admin.asked
    later(watch, clock)
    assert (watch.topic_id, admin.asked) == ("second", asked)


def test_a_topic_is_deleted_once_two_answers_in_a_row_do_not_have_it(admin: Admin) -> None:
    clock = ManualClock()
    watch = TopicWatch(admin, "events", clock)  # type: ignore[arg-type]  # a stand-in
    answers: list[tuple[str | int, bool]] = [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
        (KafkaError._TIMED_OUT, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, True),
        ("created", False),
    ]
    for answer, deleted in answers:
        admin.answer = answer
        later(watch, clock)
        assert watch.is_deleted is deleted
