"""Transforms in ``consumer run`` on real Kafka: changed, dropped, and dead-lettered events."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from consumer_fleet.kafka.chunk import Record
from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.messages import containing
from tests.support.scripted_receiver import ScriptedReceiver

RULES = """
def tidy(event, hint):
    if event["n"] == 1:
        return None
    if event["n"] == 2:
        raise ValueError("no rule for two")
    return event | {"release": f"{hint['topic']}@{hint['offset']}"}
"""


def test_events_are_changed_dropped_or_dead_lettered_by_a_users_function(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    (tmp_path / "rules.py").write_text(RULES)
    name = topic(1)
    ids = [uuid.uuid4().hex for _ in range(4)]
    events = [{"event_id": event_id, "n": n} for n, event_id in enumerate(ids)]
    events[3] |= {"extra": {"api_key": "s3cr3t"}}
    kafka.produce(name, [containing("ingest-events", event) for event in events])
    with ConsumerProcess(
        tmp_path,
        *("--topic", "ingest-events", "--physical-topic", name, "--stop-at-end"),
        *("--group", f"group-{uuid.uuid4().hex[:8]}", "--workers", "1"),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--upstream-dsn", upstream.dsn()),
        *("--transform", "rules:tidy", "--transform", "sentry-scrubbing"),
    ) as consumer:
        assert consumer.wait() == 0
        (summary,) = consumer.events("summary")
    assert summary["delivered"] == 2
    assert summary["filtered"] == {"transform": 1}
    assert summary["dead_lettered"] == {"transform_failed": 1}
    arrived = {each.event_id: json.loads(each.items[0].payload) for each in upstream.envelopes}
    assert arrived == {
        ids[0]: events[0] | {"release": f"{name}@0"},
        ids[3]: events[3] | {"release": f"{name}@3", "extra": {"api_key": "[Filtered]"}},
    }
    (letter,) = kafka.read(f"{name}-dlq")
    record = Record.from_kafka(letter)
    headers = dict(record.headers)
    assert record.value == containing("ingest-events", events[2])
    assert headers["dlq.reason"] == b"transform_failed"
    assert headers["dlq.detail"] == b"ValueError: no rule for two (rules.py:6 in tidy)"
