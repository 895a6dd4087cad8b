"""Circles on real Kafka: the destination writes what it accepts back into the topic."""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from consumer_fleet.capture.envelope import parse
from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.messages import containing
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver


def as_it_came(request: ReceivedRequest) -> bytes:
    return request.body


def as_an_sdk_sent_it(request: ReceivedRequest) -> bytes:
    """The envelope with a new header: nothing but the event's id is left of ours."""
    return containing("envelopes", event_of(request))


def as_relay_writes_it(request: ReceivedRequest) -> bytes:
    return containing("ingest-events", event_of(request))


def event_of(request: ReceivedRequest) -> dict[str, str]:
    event = orjson.loads(request.envelope.items[0].payload)
    assert isinstance(event, dict)
    return event | {"received_by": "a Sentry"}


WaysBack = Callable[[ReceivedRequest], bytes]


class Scene:
    """A topic with events, and a consumer of it whose upstream may write into it."""

    def __init__(self, kafka: KafkaBroker, topic: str, consumer: str, folder: Path) -> None:
        self.kafka, self.topic, self.consumer, self.folder = kafka, topic, consumer, folder
        self.group = f"group-{uuid.uuid4().hex[:8]}"
        self._writing = threading.Lock()

    def produce(self, events: int, partition: int = 0) -> list[str]:
        ids = [uuid.uuid4().hex for _ in range(events)]
        values = [containing(self.consumer, {"event_id": each}) for each in ids]
        self.kafka.produce(self.topic, values, partition=partition)
        return ids

    def run(self, upstream: ScriptedReceiver, *arguments: str) -> ConsumerProcess:
        return ConsumerProcess(
            self.folder,
            *("--topic", self.consumer, "--physical-topic", self.topic, "--group", self.group),
            *("--bootstrap-servers", self.kafka.bootstrap_servers),
            *("--upstream-dsn", upstream.dsn(), "--workers", "2"),
            *("--kafka-config", "session.timeout.ms=6000", *arguments),
        )

    def writes_back(self, way: WaysBack, partition: int = 0) -> Callable[[ReceivedRequest], Reply]:
        def answer(request: ReceivedRequest) -> Reply:
            with self._writing:
                self.kafka.produce(self.topic, [way(request)], key=b"key", partition=partition)
            return Reply()

        return answer

    def skipped_by_status(self) -> dict[str, int]:
        asked = run_command(
            *("status", "--bootstrap-servers", self.kafka.bootstrap_servers, "--json"),
            *("--group", self.group),
        )
        consumers = json.loads(asked.stdout)["consumers"]
        (skipped,) = [each["skipped"] for each in consumers if each["group"] == self.group]
        return dict(skipped)

    @property
    def has_settled(self) -> bool:
        """Whether everything in the topic is committed."""
        ends = {index: end for index, end in self.kafka.end_offsets(self.topic).items() if end}
        return self.kafka.committed(self.group, self.topic) == ends


@pytest.mark.parametrize(
    ("consumer", "way", "sends"),
    [
        ("envelopes", as_it_came, 1),
        ("envelopes", as_an_sdk_sent_it, 2),
        ("ingest-events", as_relay_writes_it, 2),
    ],
    ids=["marked", "raw", "relay"],
)
def test_a_circle_stops_within_two_rounds(
    kafka: KafkaBroker,
    topic: TopicFactory,
    upstream: ScriptedReceiver,
    tmp_path: Path,
    consumer: str,
    way: WaysBack,
    sends: int,
) -> None:
    here = Scene(kafka, topic(2), consumer, tmp_path)
    # One at a time, and into another partition: the first copies have their events' offsets.
    upstream.respond(here.writes_back(way, partition=1))
    ids = here.produce(15)
    with here.run(upstream, "--set", "connections=1") as running:
        running.wait_for("circle")
        running.wait_until(
            lambda: (
                here.has_settled and sum(kafka.end_offsets(here.topic).values()) == 15 * (sends + 1)
            ),
            "the last copies",
        )
        found = running.events("circle")[0]
        assert (found["topic"], found["destinations"]) == (here.topic, {"upstream": "127.0.0.1"})
        assert "check the DSN" in found["what_to_do"]
        assert here.skipped_by_status() == {"circle": 15}
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        (summary,) = running.events("summary")
    assert Counter(each.event_id for each in upstream.envelopes) == dict.fromkeys(ids, sends)
    assert (summary["delivered"], summary["filtered"]) == (15 * sends, {"circle": 15})


def test_a_circle_of_most_of_the_traffic_pauses_the_destination(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    here = Scene(kafka, topic(), "envelopes", tmp_path)
    upstream.respond(here.writes_back(as_it_came))
    here.produce(300)
    with here.run(upstream) as running:
        paused = running.wait_for("destination_paused")[0]
        assert (paused["status"], paused["destination"]) == ("circle", "upstream")
        assert "had been sent before" in paused["answer"]
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        (summary,) = running.events("summary")
    assert summary["filtered"]["circle"] >= 20
    assert max(Counter(each.event_id for each in upstream.envelopes).values()) == 1


def test_no_redelivery_is_taken_for_a_circle(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    here = Scene(kafka, topic(2), "ingest-events", tmp_path)
    upstream.respond(Reply(503))
    ids = [*here.produce(300), *here.produce(300, partition=1)]
    with here.run(upstream) as first:
        # All that is in flight goes to other workers.
        first.wait_until(lambda: len(upstream.requests) >= 10, "requests")
        for pid in first.worker_pids(2):
            os.kill(pid, signal.SIGKILL)
        first.wait_for("worker_ready", 4)
        # A partition goes there and back, with all that is not committed.
        with here.run(upstream) as second:
            second.wait_for("partitions_assigned")
            upstream.respond(Reply())
            second.wait_until(lambda: len(accepted(upstream)) > 300, "half of the events")
            second.signal(signal.SIGKILL)
        first.wait_until(lambda: here.has_settled, "the last commit")
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        assert not first.events("circle")
        (summary,) = first.events("summary")
    assert summary["filtered"] == {}
    assert accepted(upstream) == set(ids)


def accepted(upstream: ScriptedReceiver) -> set[str]:
    return {
        str(parse(each.body).event_id) for each in upstream.requests if each.reply.status == 200
    }
