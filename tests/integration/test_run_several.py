"""``consumer run`` with several topics: one process, one pool of workers, a group for each."""

from __future__ import annotations

import os
import random
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import msgpack
import orjson
import pytest

from consumer_fleet.consumers import registry
from tests.conftest import TopicFactory
from tests.support.attachments import attached_event
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.messages import containing
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

CONSUMERS = ("ingest-events", "ingest-feedback-events", "envelopes")
_ID = re.compile(rb'"event_id": ?"([0-9a-f]{32})"')


class Scene:
    """Topics, their consumers in one process, and the messages of each by their ids."""

    def __init__(self, kafka: KafkaBroker, topics: Mapping[str, str], folder: Path) -> None:
        self.kafka = kafka
        self.topics = topics
        self.folder = folder
        self.ids: dict[str, list[str]] = {}

    def produce(self, consumer: str, count: int) -> list[str]:
        ids = [uuid.uuid4().hex for _ in range(count)]
        encode = _raw_envelope if consumer == "envelopes" else _ingest_event
        self.kafka.produce(self.topics[consumer], [encode(each) for each in ids])
        self.ids[consumer] = [*self.ids.get(consumer, []), *ids]
        return ids

    def produce_to_all(self, count: int) -> None:
        """So many events to each topic; attachments are in three messages."""
        chance = random.Random(count)
        for name, topic in self.topics.items():
            if name == "ingest-attachments":
                events = [attached_event(chance, [200], chunk_bytes=100) for _ in range(count)]
                self.ids[name] = [each.event_id for each in events]
                self.kafka.produce(topic, chain.from_iterable(each.messages for each in events))
                continue
            self.ids[name] = [uuid.uuid4().hex for _ in range(count)]
            self.kafka.produce(
                topic,
                [containing(name, {"event_id": i, "platform": "python"}) for i in self.ids[name]],
            )

    def run(self, upstream: ScriptedReceiver, *arguments: str) -> ConsumerProcess:
        names = ",".join(f"{name}={topic}" for name, topic in self.topics.items())
        if "--set-of" not in arguments:
            arguments += tuple(part for name in self.topics for part in ("--topic", name))
        return ConsumerProcess(
            self.folder,
            *("--set", f"snuba_topic_map={names}"),
            *("--bootstrap-servers", self.kafka.bootstrap_servers, "--workers", "2"),
            *("--upstream-dsn", upstream.dsn(), *arguments),
        )

    def all_ids(self) -> Iterator[str]:
        return chain.from_iterable(self.ids.values())

    def committed(self, consumer: str) -> int:
        committed = self.kafka.committed(f"consumer-fleet-{consumer}", self.topics[consumer])
        return sum(committed.values())

    @property
    def lags(self) -> dict[str, int]:
        """Of the consumers that have not committed everything."""
        ends = {
            name: sum(self.kafka.end_offsets(each).values()) for name, each in self.topics.items()
        }
        return {name: end for name, end in ends.items() if self.committed(name) != end}

    def is_committed(self, *consumers: str) -> bool:
        return all(self.committed(each) == len(self.ids[each]) for each in consumers)


def _ingest_event(event_id: str) -> bytes:
    payload = orjson.dumps({"event_id": event_id, "message": "m", "extra": {"pad": "x" * 800}})
    fields = {"type": "event", "payload": payload, "start_time": 1_700_000_000}
    fields |= {"event_id": event_id, "project_id": 3, "attachments": []}
    return bytes(msgpack.packb(fields))


def _raw_envelope(event_id: str) -> bytes:
    event = orjson.dumps({"event_id": event_id, "message": "m"})
    return b"".join([b'{"event_id":"', event_id.encode(), b'"}\n{"type":"event"}\n', event, b"\n"])


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> Scene:
    return Scene(kafka, {name: topic(4) for name in CONSUMERS}, tmp_path)


def _ids(receiver: ScriptedReceiver) -> Counter[str]:
    return Counter(str(envelope.event_id) for envelope in receiver.envelopes)


def test_each_topic_is_delivered_once_and_committed_in_its_own_group(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    for name in CONSUMERS:
        scene.produce(name, 1_000)
    scene.kafka.produce(scene.topics["ingest-events"], [b"no message"])
    with scene.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
        assert consumer.delivered() == 3_000
        assert "envelopes: delivered 1,000, filtered 0" in consumer.output()
    assert _ids(upstream) == Counter(scene.all_ids())
    assert scene.committed("ingest-events") == 1_001
    assert scene.is_committed("ingest-feedback-events", "envelopes")
    assert len(scene.kafka.read(f"{scene.topics['ingest-events']}-dlq")) == 1


def test_a_topic_that_stands_still_leaves_the_others_their_workers_and_a_stop_ends_all_in_time(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    stuck = set(scene.produce("ingest-events", 5_000))

    def respond(request: ReceivedRequest) -> Reply:
        return Reply(delay_s=60) if str(request.envelope.event_id) in stuck else Reply()

    upstream.respond(respond)
    with scene.run(upstream, "--shutdown-timeout", "4", "--set", "max_in_flight_mb=2") as consumer:
        upstream.wait_until(lambda: len(upstream.requests) >= 48, 60)
        for name in ("ingest-feedback-events", "envelopes"):
            scene.produce(name, 4_000)
        others = set(scene.ids["ingest-feedback-events"]) | set(scene.ids["envelopes"])
        done = lambda: scene.is_committed("ingest-feedback-events", "envelopes")  # noqa: E731
        consumer.wait_until(done, "the others to be committed", 60)
        assert scene.committed("ingest-events") == 0
        consumer.signal(signal.SIGTERM)
        assert consumer.wait(30) == 0  # the answers that it waits for take 60 s
    delivered = Counter(str(request.envelope.event_id) for request in upstream.requests)
    assert all(delivered[each] == 1 for each in others)


def test_a_killed_worker_repeats_no_more_than_the_requests_on_the_wire(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    upstream.respond(Reply(delay_s=0.01))
    with scene.run(upstream, "--set", "connections=16") as consumer:
        workers = consumer.worker_pids(2)
        for name in CONSUMERS:
            scene.produce(name, 2_000)
        upstream.wait_until(lambda: len(upstream.requests) >= 1_000, 60)
        os.kill(workers[0], signal.SIGKILL)
        consumer.wait_for("worker_died")
        consumer.wait_until(lambda: scene.is_committed(*CONSUMERS), "all to be committed", 60)
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    counts = _ids(upstream)
    assert set(counts) == set(scene.all_ids())
    assert sum(counts.values()) - len(counts) <= 16


def test_a_killed_worker_costs_none_of_nine_topics_more_than_a_restart(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    names = registry.in_sets({"ingest", "processed"})
    scene = Scene(kafka, {name: topic(2, prefix=name) for name in names}, tmp_path)
    assert len(scene.topics) == 9
    upstream.respond(Reply(delay_s=0.005))
    both = ("--set-of", "ingest", "--set-of", "processed", "--yes")
    with scene.run(upstream, *both, "--set", "connections=16") as consumer:
        workers = consumer.worker_pids(2)
        scene.produce_to_all(300)
        upstream.wait_until(lambda: len(upstream.requests) >= 600, 60)
        os.kill(workers[0], signal.SIGKILL)
        consumer.wait_for("worker_died")
        consumer.wait_until(lambda: not scene.lags, "all to be committed", 60)
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
        assert len(consumer.events("worker_died")) == 1
        assert len(consumer.events("partitions_assigned")) == 9, "no topic is assigned again"
    found = [_ID.search(each.envelope.items[0].payload) for each in upstream.requests]
    counts = Counter(each[1].decode() for each in found if each)
    assert set(counts) == set(scene.all_ids())
    assert sum(counts.values()) - len(counts) <= 16, "only what was on the wire is repeated"
