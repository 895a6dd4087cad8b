"""Held messages on real Kafka: what one destination limits or refuses alone keeps nothing back."""

from __future__ import annotations

import random
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumer_fleet.capture.envelope import build, make_item, serialize
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.open_offsets import CommitMetadata
from tests.conftest import TopicFactory
from tests.support.bugsink import Bugsink
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

LIMITED_FOR_A_DAY = Reply(429, {"X-Sentry-Rate-Limits": "86400:transaction;span:organization"})


def new_id() -> str:
    return uuid.uuid4().hex


def envelope(event_id: str, kind: str = "event") -> bytes:
    body = {
        "event": b'{"event_id":"%b","message":"m","platform":"python"}',
        "transaction": b'{"event_id":"%b","type":"transaction","transaction":"t",'
        b'"start_timestamp":1700000000,"timestamp":1700000001,"contexts":{"trace":'
        b'{"trace_id":"%b","span_id":"aaaaaaaaaaaaaaaa"}}}',
    }[kind]
    payload = body.replace(b"%b", event_id.encode())
    made = build(event_id, [make_item(kind, payload)])
    return serialize(made, dsn="http://key@host/1", sent_at="2026-01-01T00:00:00Z")


class Scene:
    """A topic of raw envelopes, its group, and its dead letters."""

    def __init__(self, kafka: KafkaBroker, topic: str, folder: Path) -> None:
        self.kafka, self.topic, self.folder = kafka, topic, folder
        self.group = f"group-{new_id()[:8]}"

    def run(self, dsn: str, *arguments: str) -> ConsumerProcess:
        return ConsumerProcess(
            self.folder,
            *("--topic", "envelopes", "--physical-topic", self.topic, "--group", self.group),
            *("--bootstrap-servers", self.kafka.bootstrap_servers, "--upstream-dsn", dsn),
            # A killed member is soon replaced.
            *("--kafka-config", "session.timeout.ms=6000", "--workers", "2", *arguments),
        )

    def produce(self, *ids: str, kind: str = "event") -> None:
        self.kafka.produce(self.topic, [envelope(each, kind) for each in ids])

    @property
    def committed(self) -> dict[int, int]:
        return self.kafka.committed(self.group, self.topic)

    @property
    def ends(self) -> dict[int, int]:
        return {index: end for index, end in self.kafka.end_offsets(self.topic).items() if end}

    def settled_below(self) -> int:
        """What the last commit says of partition 0: all below is settled but for the held."""
        client = Consumer(self.kafka.client_config(group_id=self.group, enable_auto_commit=False))
        try:
            (found,) = client.committed([TopicPartition(self.topic, 0)], timeout=10)
        finally:
            client.close()
        return CommitMetadata.read(found.metadata, found.offset).high

    def dead_letters(self) -> dict[str, dict[str, str]]:
        """The dead letters' headers, by event id."""
        found = {}
        for message in self.kafka.read(f"{self.topic}-dlq"):
            record = Record.from_kafka(message)
            event_id = (record.value or b"").split(b'"event_id":"')[1][:32].decode()
            found[event_id] = {
                name: value.decode() for name, value in record.headers if isinstance(value, bytes)
            }
        return found


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> Callable[..., Scene]:
    return lambda partitions=1: Scene(kafka, topic(partitions), tmp_path)


def accepted(receiver: ScriptedReceiver) -> Counter[str]:
    return Counter(str(each.event_id) for each in receiver.envelopes)


def fails(*bad: str) -> Callable[[ReceivedRequest], Reply]:
    """Answer these envelopes with 500, and accept the others."""
    names = [each.encode() for each in bad]

    def answer(request: ReceivedRequest) -> Reply:
        if any(name in request.body for name in names):
            return Reply(500, body=b'{"detail":"no such project shard"}')
        return Reply()

    return answer


def limits_transactions(request: ReceivedRequest) -> Reply:
    return LIMITED_FOR_A_DAY if b'"type":"transaction"' in request.body else Reply()


def test_bugsink_takes_all_errors_although_it_limits_transactions_for_a_day(
    scene: Callable[..., Scene], bugsink: Bugsink, kafka: KafkaBroker
) -> None:
    here = scene()
    errors = [new_id() for _ in range(600)]
    values = [(each, "event") for each in errors]
    values += [(new_id(), "transaction") for _ in range(600)]
    random.Random(14).shuffle(values)
    kafka.produce(here.topic, [envelope(*each) for each in values])
    with here.run(bugsink.dsn, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
        held = consumer.events("message_held")[0]
        assert (held["kind"], held["destination"]) == ("limited", "upstream")
        delivered = consumer.delivered()
    bugsink.wait_for_ids(errors)
    assert here.committed == here.ends
    letters = here.dead_letters()
    # Until its first answer, Bugsink accepts transactions, and drops them.
    assert len(letters) + delivered == 1200
    assert not set(letters) & set(errors)
    assert {each["dlq.reason"] for each in letters.values()} == {"held_limited"}
    assert "86400:transaction" in next(iter(letters.values()))["dlq.detail"]
    assert all(int(each["dlq.due_ms"]) > 1_700_000_000_000 for each in letters.values())


def test_failing_messages_are_passed_across_restarts_and_end_as_dead_letters(
    scene: Callable[..., Scene], upstream: ScriptedReceiver
) -> None:
    here = scene()
    ids = [new_id() for _ in range(600)]
    bad = [ids[10], ids[11], ids[300]]
    upstream.respond(fails(*bad))
    here.produce(*ids[:400])
    with here.run(upstream.dsn()) as consumer:
        consumer.wait_for("message_held", 3)
        consumer.wait_until(lambda: len(accepted(upstream)) == 397, "the others")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    assert here.committed == {0: 10}
    here.produce(*ids[400:500])
    with here.run(upstream.dsn()) as consumer:
        consumer.wait_until(lambda: len(accepted(upstream)) == 497, "the next ones")
        consumer.wait_until(lambda: here.committed == {0: 10}, "a commit")
        consumer.wait_until(
            lambda: len(consumer.events("message_held")) == 3, "the same ones to be held"
        )
        # A commit later, nothing of what has passed is sent again.
        consumer.wait_until(lambda: here.settled_below() == 500, "a commit that names them")
        consumer.signal(signal.SIGKILL)
        consumer.wait()
    here.produce(*ids[500:])
    with here.run(upstream.dsn(), "--stop-at-end") as consumer:
        assert consumer.wait() == 0
    assert here.committed == here.ends
    assert accepted(upstream) == Counter(set(ids) - set(bad))
    letters = here.dead_letters()
    assert set(letters) == set(bad)
    for letter in letters.values():
        assert letter["dlq.reason"] == "held_failing"
        assert "no such project shard" in letter["dlq.detail"]
