"""Dead letters on a real broker: the original byte for byte, and never dropped."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from arroyo.types import Partition, Topic
from confluent_kafka import Message
from structlog.testing import capture_logs

from consumer_fleet.errors import FleetError, UndeliverableMessage
from consumer_fleet.kafka.chunk import DeadLetter, Headers, Record
from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.dead_letters import DeadLetterProducer, Ticket
from consumer_fleet.kafka.topic_watch import TopicWatch, identity_of
from tests.conftest import TopicFactory
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until

PLACE = Partition(Topic("events"), 3)
BINARY = bytes(range(256))
# 4.8 kB, which no codec makes smaller.
INCOMPRESSIBLE = b"".join(uuid.uuid4().bytes for _ in range(300))

MakeProducer = Callable[[str | None], DeadLetterProducer]


def letter(
    offset: int,
    value: bytes | None = b"value",
    *,
    key: bytes | None = None,
    headers: Headers = (),
    timestamp_ms: int | None = 1_700_000_000_123,
    detail: str = "line 1",
) -> DeadLetter:
    return DeadLetter(Record(offset, timestamp_ms, key, value, headers), "invalid_json", detail)


@pytest.fixture
def failures() -> list[FleetError]:
    return []


@pytest.fixture
def make(kafka: KafkaBroker, failures: list[FleetError]) -> Iterator[MakeProducer]:
    made: list[DeadLetterProducer] = []

    def make(topic: str | None) -> DeadLetterProducer:
        config = client_config(kafka.bootstrap_servers, {})
        made.append(DeadLetterProducer(config, topic, "my-group", on_failure=failures.append))
        return made[-1]

    yield make
    for each in made:
        each.forget_all()
        each.close(1.0)


def keep(producer: DeadLetterProducer, *tickets: Ticket, timeout_s: float = 30) -> None:
    def kept() -> bool:
        producer.poll(0.05)
        return all(ticket.kept for ticket in tickets)

    wait_until(kept, timeout_s=timeout_s, what="the acknowledgements", interval_s=0.0)


def facts(message: Message) -> dict[str, bytes]:
    """The headers of a message that has each name once, or the last of each."""
    found: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]  # bytes here
    return found


def test_a_dead_letter_is_the_original_byte_for_byte(
    kafka: KafkaBroker, topic: TopicFactory, make: MakeProducer, failures: list[FleetError]
) -> None:
    name, producer = topic(), make
    headers = (("b", BINARY), ("a", None), ("b", b""), ("a", "text"), ("dlq.reason", b"older"))
    originals = [
        letter(0, BINARY, key=BINARY, headers=headers),
        letter(1, None, key=b""),
        letter(2, b"", key=None),
    ]
    made = producer(name)
    keep(made, *[made.produce(PLACE, each) for each in originals])
    assert made.idle
    found = {facts(each)["dlq.offset"]: each for each in kafka.read(name)}
    assert [found[b"%d" % n].value() for n in range(3)] == [BINARY, None, b""]
    assert [found[b"%d" % n].key() for n in range(3)] == [BINARY, b"", None]
    kept = list(found[b"0"].headers() or [])
    assert kept[:5] == [
        ("b", BINARY),
        ("a", None),
        ("b", b""),
        ("a", b"text"),
        ("dlq.reason", b"older"),
    ]
    assert failures == []


def test_the_facts_of_a_dead_letter_stand_behind_its_own_headers(
    kafka: KafkaBroker, topic: TopicFactory, make: MakeProducer
) -> None:
    name = topic()
    producer = make(name)
    keep(
        producer,
        producer.produce(PLACE, letter(41, headers=(("own", b"1"),), detail="x" * 5000)),
        producer.produce(PLACE, letter(42, timestamp_ms=None, detail="")),
        producer.produce(PLACE, letter(43, timestamp_ms=0, detail="half \ud800 a pair")),
    )
    full, bare, odd = sorted(kafka.read(name), key=lambda each: facts(each)["dlq.offset"])
    assert full.headers() == [
        ("own", b"1"),
        ("dlq.reason", b"invalid_json"),
        ("dlq.detail", b"x" * 1000),
        ("dlq.topic", b"events"),
        ("dlq.partition", b"3"),
        ("dlq.offset", b"41"),
        ("dlq.timestamp_ms", b"1700000000123"),
        ("dlq.group", b"my-group"),
    ]
    assert list(facts(bare)) == [
        "dlq.reason",
        "dlq.topic",
        "dlq.partition",
        "dlq.offset",
        "dlq.group",
    ]
    assert facts(odd)["dlq.timestamp_ms"] == b"0"
    assert facts(odd)["dlq.detail"] == b"half \\ud800 a pair"


def test_what_the_topic_refuses_is_kept_and_produced_once_it_is_allowed(
    kafka: KafkaBroker, topic: TopicFactory, make: MakeProducer, failures: list[FleetError]
) -> None:
    name = topic(config={"max.message.bytes": 1000})
    producer = make(name)
    large = producer.produce(PLACE, letter(0, INCOMPRESSIBLE))

    def refused() -> bool:
        producer.poll(0.05)
        return producer.blocked

    with capture_logs() as logs:
        wait_until(refused, timeout_s=30, what="the refusal", interval_s=0.0)
    (event,) = [each for each in logs if each["event"] == "dead_letter_topic_refuses"]
    assert (event["topic"], event["waiting"]) == (name, 1)
    assert "too large" in event["why"].lower()
    assert not large.kept
    assert not producer.idle
    small = producer.produce(PLACE, letter(1, b"small"))
    keep(producer, small)
    assert not large.kept, "one that is refused does not hold up the others"
    kafka.set_topic_config(name, "max.message.bytes", 1_000_000)
    keep(producer, large)
    assert producer.idle
    assert not producer.blocked
    offsets = [facts(each)["dlq.offset"] for each in kafka.read(name)]
    assert sorted(offsets) == [b"0", b"1"]
    assert failures == []


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"max.message.bytes": 1000}, letter(0, INCOMPRESSIBLE, key=b"a")),
        ({"cleanup.policy": "compact"}, letter(0)),  # which refuses messages without a key
    ],
)
def test_what_is_refused_with_another_of_its_batch_is_produced_alone(
    kafka: KafkaBroker,
    topic: TopicFactory,
    make: MakeProducer,
    settings: dict[str, str | int],
    refused: DeadLetter,
) -> None:
    name = topic(config=settings)
    producer = make(name)
    # All are in the queue before the first batch is made: the topic's leader is not known yet.
    others = [producer.produce(PLACE, letter(offset, key=b"a")) for offset in (1, 2)]
    first = producer.produce(PLACE, refused)
    others += [producer.produce(PLACE, letter(offset, key=b"a")) for offset in (3, 4)]
    keep(producer, *others)
    assert not first.kept
    offsets = [facts(each)["dlq.offset"] for each in kafka.read(name)]
    assert sorted(offsets) == [b"1", b"2", b"3", b"4"]


def test_a_broker_that_is_away_is_waited_for(
    own_kafka: KafkaBroker, failures: list[FleetError]
) -> None:
    name = own_kafka.create_topic("letters")
    config = client_config(own_kafka.bootstrap_servers, {})
    producer = DeadLetterProducer(config, name, "my-group", on_failure=failures.append)
    keep(producer, producer.produce(PLACE, letter(0)))
    own_kafka.stop(kill=True)
    try:
        ticket = producer.produce(PLACE, letter(1))
        producer.poll(0.5)
        assert not ticket.kept
    finally:
        own_kafka.start()
    keep(producer, ticket, timeout_s=60)
    assert len(own_kafka.read(name)) == 2
    assert failures == []
    producer.close(1.0)


def test_a_deleted_topic_is_named_within_seconds_and_gets_its_dead_letters_once_it_is_back(
    kafka: KafkaBroker, topic: TopicFactory, failures: list[FleetError]
) -> None:
    name = topic()
    config = client_config(kafka.bootstrap_servers, {})
    cluster = Cluster(config)
    cluster.check_reachable()
    watch = TopicWatch(cluster, identity_of(name))
    producer = DeadLetterProducer(config, name, "group", on_failure=failures.append, watch=watch)
    keep(producer, producer.produce(PLACE, letter(0)))
    kafka.delete_topic(name)
    ticket = producer.produce(PLACE, letter(1))

    def blocked() -> bool:
        producer.poll(0.05)
        return producer.blocked

    with capture_logs() as logs:
        wait_until(blocked, timeout_s=30, what="the deletion to be noticed", interval_s=0.0)
    (event,) = [each for each in logs if each["event"] == "dead_letter_topic_refuses"]
    assert (event["topic"], event["why"], event["waiting"]) == (name, "it was deleted", 1)
    assert "create it" in event["what_now"]
    kafka.create_topic(name)
    keep(producer, ticket, timeout_s=60)
    assert [facts(each)["dlq.offset"] for each in kafka.read(name)] == [b"1"]
    assert not producer.blocked
    assert failures == []
    producer.close(1.0)


def test_what_is_forgotten_is_not_tried_again(
    kafka: KafkaBroker, topic: TopicFactory, make: MakeProducer
) -> None:
    name = topic(config={"max.message.bytes": 1000})
    producer = make(name)
    ticket = producer.produce(PLACE, letter(0, INCOMPRESSIBLE))

    def refused() -> bool:
        producer.poll(0.05)
        return producer.blocked

    wait_until(refused, timeout_s=30, what="the refusal", interval_s=0.0)
    producer.forget_all()
    assert producer.idle
    assert not producer.blocked
    kafka.set_topic_config(name, "max.message.bytes", 1_000_000)
    keep(producer, producer.produce(PLACE, letter(1)))
    assert not ticket.kept
    assert [facts(each)["dlq.offset"] for each in kafka.read(name)] == [b"1"]


def test_without_a_topic_the_first_dead_letter_ends_the_run_and_names_itself(
    make: MakeProducer, failures: list[FleetError]
) -> None:
    producer = make(None)
    ticket = producer.produce(PLACE, letter(41, detail="line 1"))
    producer.poll(0.0)
    assert not ticket.kept, "its offset must not be committed"
    (failure,) = failures
    assert isinstance(failure, UndeliverableMessage)
    assert "events/3 offset 41 was rejected (invalid_json: line 1)" in str(failure)
    assert "--no-dlq" in str(failure)
