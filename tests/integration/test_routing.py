"""Projects with DSNs of their own, on real Kafka: an outage of one holds back no other."""

from __future__ import annotations

import itertools
import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from consumer_fleet.capture.envelope import build, make_item, serialize
from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ScriptedReceiver

PROJECTS = (1, 2, 3)
BATCH = 50
# OUTAGE_BATCHES=300 is the long run. No more than 20,000 messages may wait.
OUTAGE_BATCHES = int(os.environ.get("OUTAGE_BATCHES", "10"))


def envelopes(project: int, number: int) -> list[bytes]:
    found = []
    for _ in range(number):
        event_id = uuid.uuid4().hex
        item = make_item("event", b'{"event_id":"%b"}' % event_id.encode())
        dsn = f"http://key@sentry.example/{project}"
        found.append(serialize(build(event_id, [item]), dsn=dsn, sent_at="2026-01-01T00:00:00Z"))
    return found


@pytest.fixture
def servers() -> Iterator[dict[int, ScriptedReceiver]]:
    with ExitStack() as stack:
        yield {project: stack.enter_context(ScriptedReceiver()) for project in PROJECTS}


def accepted(server: ScriptedReceiver) -> Counter[str]:
    return Counter(
        str(each.envelope.event_id) for each in server.requests if each.reply.status == 200
    )


@pytest.mark.timeout(180 + 2 * OUTAGE_BATCHES)
@pytest.mark.parametrize("partitions", [3, 1])
def test_an_outage_of_one_project_holds_back_no_other_and_loses_nothing(
    kafka: KafkaBroker,
    topic: TopicFactory,
    tmp_path: Path,
    servers: dict[int, ScriptedReceiver],
    partitions: int,
) -> None:
    """With a partition for each project, and with one for all."""
    name, group = topic(partitions), f"group-{uuid.uuid4().hex[:8]}"
    refusing, others = servers[3], (servers[1], servers[2])

    def produce(number: int) -> None:
        for project in PROJECTS:
            partition = (project - 1) % partitions
            kafka.produce(name, envelopes(project, number), partition=partition)

    dsns = [("--set", f"projects.{each}.upstream={servers[each].dsn()}") for each in PROJECTS]
    with ConsumerProcess(
        tmp_path,
        *("--topic", "envelopes", "--physical-topic", name, "--group", group),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--workers", "2"),
        *itertools.chain(*dsns, ("--set", "unmapped_projects=dead-letter")),
    ) as consumer:
        produce(1)
        consumer.wait_until(lambda: all(each.requests for each in servers.values()), "a first one")
        refusing.respond(503)
        total = 1

        def others_have_all() -> bool:
            return all(accepted(each).total() == total for each in others)

        for _ in range(OUTAGE_BATCHES):
            produce(BATCH)
            total += BATCH
            consumer.wait_until(others_have_all, "those of the others")
        if partitions == len(PROJECTS):
            consumer.wait_until(
                lambda: [kafka.committed(group, name).get(each) for each in (0, 1)] == [total] * 2,
                "the commit of all of theirs",
            )
        assert accepted(refusing).total() == 1, "the outage lasts"
        refusing.respond(200)
        consumer.wait_until(
            lambda: len(accepted(refusing)) == total, "all after the outage", 60 + OUTAGE_BATCHES
        )
        ends = kafka.end_offsets(name)
        consumer.wait_until(lambda: kafka.committed(group, name) == ends, "the last commit")
        assert consumer.events("destination_backing_off")[0]["destination"] == "upstream:3"
    assert all(set(accepted(each).values()) == {1} for each in servers.values())
    assert not list(kafka.read(f"{name}-dlq"))
