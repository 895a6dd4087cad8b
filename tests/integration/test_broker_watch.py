"""A client that has forgotten every broker is replaced, and nothing is lost or stalls."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest
from arroyo.types import Partition, Topic
from structlog.testing import capture_logs

from consumer_fleet.errors import FleetError
from consumer_fleet.kafka.chunk import DeadLetter, Record
from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from consumer_fleet.kafka.offset_spec import EARLIEST
from consumer_fleet.kafka.reader import TopicReader
from tests.support.consumer_process import ConsumerProcess
from tests.support.leaving_kafka import LeavingKafka
from tests.support.processes import wait_until
from tests.support.requirements import MissingPart, require
from tests.support.scripted_receiver import ScriptedReceiver

_PLACE = ("dlq.partition", "dlq.offset")
# The answer that makes a client forget is one about metadata; by default it asks every 5 minutes.
OFTEN = {"topic.metadata.refresh.interval.ms": "100", "reconnect.backoff.max.ms": "200"}


@pytest.fixture(scope="module")
def kafka() -> Iterator[LeavingKafka]:
    try:
        broker = LeavingKafka()
    except MissingPart as error:
        require("Kafka", str(error))
    with closing(broker):
        broker.start()
        yield broker


@pytest.fixture
def topic(kafka: LeavingKafka) -> str:
    return kafka.broker.create_topic(f"t-{uuid.uuid4().hex[:8]}", 2)


def until_forgotten(
    kafka: LeavingKafka, turn: Callable[[], None], forgotten: Callable[[], bool]
) -> None:
    """Let the broker leave and come back until a client has forgotten it.

    Whether it forgets is decided between two threads of librdkafka, in about every second case.
    """

    def until(condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            turn()
            return condition() or forgotten()

        wait_until(holds, timeout_s=30, what=what, interval_s=0.01)

    deadline = monotonic() + 100
    while not forgotten():
        assert monotonic() < deadline, "it found the broker again each time"
        until(lambda: kafka.connections > 0, "a connection")
        kafka.leave()
        until(lambda: kafka.has_left and kafka.connections == 0, "the broker to leave")
        kafka.come_back()


def letter(offset: int) -> DeadLetter:
    return DeadLetter(Record(offset, None, None, b"{", ()), "invalid_json", "cut")


def test_a_dead_letter_producer_goes_on_with_what_it_had(
    kafka: LeavingKafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer_fleet.kafka.broker_watch._STATISTICS_INTERVAL_MS", 500)
    failures: list[FleetError] = []
    place = Partition(Topic("events"), 0)
    config = client_config(kafka.bootstrap_servers, OFTEN)
    with capture_logs() as logs:
        producer = DeadLetterProducer(config, topic, "group", on_failure=failures.append)
        tickets = [producer.produce(place, letter(0))]

        def turn() -> None:
            producer.poll(0.05)

        def forgotten() -> bool:
            return any(event["event"] == "brokers_forgotten" for event in logs)

        wait_until(lambda: turn() or tickets[0].kept, timeout_s=30, what="a dead letter")
        until_forgotten(kafka, turn, forgotten)
        tickets.append(producer.produce(place, letter(1)))
        wait_until(lambda: turn() or producer.idle, timeout_s=30, what="the other one")
    assert all(ticket.kept for ticket in tickets)
    assert failures == []
    assert len(kafka.broker.read(topic)) == 2
    producer.close(10)


def test_a_reader_that_follows_a_topic_goes_on_where_it_was(
    kafka: LeavingKafka, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumer_fleet.kafka.broker_watch._STATISTICS_INTERVAL_MS", 500)
    read: list[tuple[int | None, int | None]] = []
    kafka.broker.produce(topic, [b"x"] * 5, partition=0)
    config = client_config(kafka.bootstrap_servers, OFTEN)
    with capture_logs() as logs, TopicReader(config, topic, start=EARLIEST, end=None) as reader:

        def turn() -> None:
            read.extend((each.partition(), each.offset()) for each in reader.read(100, 0.05))

        def forgotten() -> bool:
            return any(event["event"] == "brokers_forgotten" for event in logs)

        wait_until(lambda: turn() or len(read) == 5, timeout_s=30, what="the first messages")
        until_forgotten(kafka, turn, forgotten)
        kafka.broker.produce(topic, [b"x"] * 5, partition=0)
        kafka.broker.produce(topic, [b"x"] * 5, partition=1)
        wait_until(lambda: turn() or len(read) >= 15, timeout_s=30, what="the others")
    assert sorted(read) == [(0, n) for n in range(10)] + [(1, n) for n in range(5)]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_run_goes_on_and_loses_nothing(
    kafka: LeavingKafka, topic: str, tmp_path: Path, protocol: str
) -> None:
    group = f"g-{uuid.uuid4().hex[:8]}"
    # The broker keeps a member that it does not hear of for so long, and its partitions with it.
    own = {
        "classic": {"session.timeout.ms": "6000"},
        "consumer": {"group.protocol": "consumer"},
    }[protocol]
    settings = [f"--kafka-config={name}={value}" for name, value in {**OFTEN, **own}.items()]
    produced = 0

    def produce() -> int:
        for index in range(2):
            kafka.broker.produce(topic, [b"not an event"] * 20, partition=index)
        return produced + 40

    def committed() -> int:
        return sum(kafka.broker.committed(group, topic).values())

    with (
        ScriptedReceiver() as upstream,
        ConsumerProcess(
            tmp_path,
            *("--topic", "events", "--physical-topic", topic, "--group", group),
            *("--bootstrap-servers", kafka.bootstrap_servers, *settings),
            *("--workers", "1", "--upstream-dsn", upstream.dsn()),
        ) as consumer,
    ):
        produced = produce()
        consumer.wait_until(lambda: committed() == produced, "the first messages")
        until_forgotten(
            kafka,
            lambda: None,
            lambda: bool(
                consumer.events("brokers_forgotten") and consumer.events("partitions_lost")
            ),
        )
        produced = produce()
        consumer.wait_until(lambda: committed() == produced, "the others", timeout_s=120)
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    places = {
        tuple(value for name, value in message.headers() or () if name in _PLACE)
        for message in kafka.broker.read(f"{topic}-dlq")
    }
    assert len(places) == produced
