"""The running consumer's own view of how soon retention deletes what it has not delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from arroyo.types import Partition
from confluent_kafka import Consumer, TopicPartition
from structlog.testing import capture_logs

from consumer_fleet.kafka.positions import Positions
from consumer_fleet.kafka.retention import retention_of
from consumer_fleet.kafka.topic_watch import TopicWatch
from consumer_fleet.metrics import snapshot
from consumer_fleet.run.health import TimeToLoss
from tests.support.records import TOPIC, chunk, partition

NOW_S = 1_700_000_000.0
HOUR_MS = 3_600_000


class AnsweringCluster:
    """A cluster, and its admin client."""

    def __init__(self, **settings: str) -> None:
        self._entries = {
            name.replace("_", "."): SimpleNamespace(value=value) for name, value in settings.items()
        }

    def ask(self, question: Callable[[Any], Future[Any]]) -> Future[Any]:
        return question(self)

    def describe_configs(self, resources: list[Any], **_: object) -> dict[Any, Future[Any]]:
        answer: Future[Any] = Future()
        answer.set_result(self._entries)
        return {resources[0]: answer}


class Scene:
    """Retention of ten hours, a clock to turn, and messages as old as the test says."""

    def __init__(self, **settings: str) -> None:
        self.clock = 5000.0
        cluster: Any = AnsweringCluster(**(settings or {"retention_ms": str(10 * HOUR_MS)}))
        watch = TopicWatch(cluster, retention_of("events"), lambda: self.clock)
        self.subject = TimeToLoss(watch, lambda: NOW_S, lambda: self.clock)
        self.subject.report({})  # the first call asks for the retention

    def report(self, hours_old: Mapping[int, float]) -> list[dict[str, Any]]:
        """Return the log entries."""
        oldest = {
            partition(index): int(NOW_S * 1000 - hours * HOUR_MS)
            for index, hours in hours_old.items()
        }
        with capture_logs() as logs:
            self.subject.report(oldest)
        return [dict(entry) for entry in logs]


def gauges() -> dict[str, float]:
    return {
        tags[0][1]: value
        for (name, tags), value in snapshot().gauges.items()
        if name == "consumer.time_to_loss_s"
    }


def test_each_partition_with_something_in_flight_has_its_time() -> None:
    assert Scene().report({0: 4, 3: 8.5}) == []
    assert gauges() == {"0": 6 * 3600, "3": 1.5 * 3600}


def test_nothing_is_sent_where_nothing_is_in_flight_or_nothing_expires() -> None:
    Scene().report({})
    Scene(retention_ms="-1").report({0: 4})
    Scene(retention_ms="1000", cleanup_policy="compact").report({0: 4})
    assert gauges() == {}


def test_a_low_time_is_warned_of_once_in_ten_minutes() -> None:
    scene = Scene()
    (warning,) = scene.report({0: 4, 1: 9.5, 2: 9.2})
    assert warning["event"] == "time_to_loss_low"
    assert warning["log_level"] == "warning"
    assert warning["seconds"] == 1800
    assert warning["partitions"] == ["events/1", "events/2"]
    assert warning["retention_ms"] == 10 * HOUR_MS
    scene.clock += 599
    assert scene.report({1: 9.9}) == []
    scene.clock += 2
    assert len(scene.report({1: 9.9})) == 1


class BareClient:
    """Nothing but committed offsets, all zero."""

    def committed(self, targets: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, 0) for each in targets]


def positions(*indexes: int) -> Positions:
    client: Any = BareClient()
    assert not isinstance(client, Consumer)
    found = Positions(client, "earliest", lambda *_: None, {}, group="fleet")
    found.resolve([TopicPartition(TOPIC.name, index) for index in indexes])
    return found


def stamp_of(offset: int) -> int:
    return chunk(offset, 1).records[0].timestamp_ms or 0


def test_the_oldest_message_in_flight_is_the_first_of_the_oldest_unsettled_chunk() -> None:
    held = positions(0, 1)
    assert held.oldest_unsettled_ms() == {}
    for first in (0, 10, 20):
        held.advance(chunk(first, 10))
    assert held.oldest_unsettled_ms() == {partition(0): stamp_of(0)}
    held.settled({partition(0): 9})
    assert held.oldest_unsettled_ms() == {partition(0): stamp_of(0)}
    held.settled({partition(0): 20})
    assert held.oldest_unsettled_ms() == {partition(0): stamp_of(20)}
    held.settled({partition(0): 30})
    assert held.oldest_unsettled_ms() == {}


def test_what_is_read_again_is_in_flight_again_and_once() -> None:
    held = positions(0)
    for first in (0, 10, 20):
        held.advance(chunk(first, 10))
    held.moved(partition(0), 10)
    assert held.oldest_unsettled_ms() == {partition(0): stamp_of(0)}
    held.advance(chunk(10, 5))
    held.settled({partition(0): 10})
    assert held.oldest_unsettled_ms() == {partition(0): stamp_of(10)}
    held.settled({partition(0): 15})
    assert held.oldest_unsettled_ms() == {}
    held.advance(chunk(15, 5))
    held.forget([partition(0)])
    assert held.oldest_unsettled_ms() == {}


def test_the_oldest_of_one_partition_says_nothing_of_another() -> None:
    held = positions(0, 1)
    held.advance(chunk(5, 1, 1))
    held.advance(chunk(0, 1, 0))
    expected: dict[Partition, int] = {partition(1): stamp_of(5), partition(0): stamp_of(0)}
    assert held.oldest_unsettled_ms() == expected
