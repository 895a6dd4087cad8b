"""A topic is watched without blocking: its id, and its absence."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.mock_cluster import MockCluster
from consumer_fleet.kafka.topic_watch import Question, TopicIdentity, TopicWatch, identity_of
from tests.support.clock import ManualClock

INTERVAL_S = 10.0


class Brokers:
    """A cluster that responds when the test says so. Without a controller it is never asked."""

    def __init__(self) -> None:
        self.has_controller = True
        self.asked: list[Future[Any]] = []

    def ask(self, question: Callable[[Any], Future[Any]]) -> Future[Any] | None:
        return question(self) if self.has_controller else None

    def request(self) -> Future[Any]:
        self.asked.append(Future())
        return self.asked[-1]


NUMBERS: Question[list[int]] = Question(
    lambda brokers: brokers.request(),  # type: ignore[attr-defined]  # a stand-in
    lambda response, before: [*before, response.result()],
    [],
    INTERVAL_S,
)


@pytest.fixture
def brokers() -> Brokers:
    return Brokers()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


def watching(brokers: Brokers, clock: ManualClock) -> TopicWatch[list[int]]:
    return TopicWatch(brokers, NUMBERS, clock)  # type: ignore[arg-type]  # a stand-in


def test_a_question_is_asked_at_its_interval_one_request_at_a_time_and_never_waited_for(
    brokers: Brokers, clock: ManualClock
) -> None:
    watch = watching(brokers, clock)
    assert watch.current() == watch.current() == []
    clock.now += INTERVAL_S + 1
    assert watch.current() == []
    assert len(brokers.asked) == 1
    brokers.asked[-1].set_result(7)
    assert watch.current() == [7]
    assert len(brokers.asked) == 2, "it was due"
    brokers.asked[-1].set_result(8)
    assert watch.current() == [7, 8]
    clock.now += INTERVAL_S - 1
    watch.current()
    assert len(brokers.asked) == 2
    clock.now += 2
    assert watch.current() == [7, 8], "the last response holds until the next one"
    assert len(brokers.asked) == 3


def test_a_cluster_without_a_controller_is_not_asked_until_it_has_one(
    brokers: Brokers, clock: ManualClock
) -> None:
    brokers.has_controller = False
    watch = watching(brokers, clock)
    assert watch.wait() == watch.current() == []
    assert not brokers.asked
    brokers.has_controller = True
    clock.now += INTERVAL_S
    watch.current()
    assert len(brokers.asked) == 1


def test_a_mock_cluster_is_asked_nothing() -> None:
    with MockCluster() as mock:
        cluster = Cluster({"bootstrap.servers": mock.bootstrap_servers})
        cluster.check_reachable()
        assert cluster.ask(lambda _admin: pytest.fail("it would not respond")) is None
        assert TopicWatch(cluster, identity_of("events")).wait() == TopicIdentity()


def response(result: object) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(result, int):
        future.set_exception(KafkaException(KafkaError(result)))
    else:
        future.set_result(SimpleNamespace(topic_id=result, partitions=[None, None]))
    return future


def test_a_topic_is_deleted_once_two_responses_in_a_row_do_not_have_it() -> None:
    read = identity_of("events").read
    known = read(response("first"), TopicIdentity())
    assert known == TopicIdentity("first", 2)
    responses: list[tuple[str | int, bool]] = [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
        (KafkaError._TIMED_OUT, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, True),
    ]
    for result, is_deleted in responses:
        known = read(response(result), known)
        assert known.topic_id == "first"
        assert known.is_deleted is is_deleted
    assert read(response("second"), known) == TopicIdentity("second", 2)
