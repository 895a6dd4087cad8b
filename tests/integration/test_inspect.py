"""``consumer inspect`` on a real Kafka: live, with any message, without side effects."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from consumer_fleet.dead_letter_headers import Facts, with_facts
from tests.conftest import TopicFactory
from tests.support.consumer_process import run_command
from tests.support.inspector_process import InspectorProcess
from tests.support.kafka_broker import KafkaBroker


def envelope(title: str, event_id: str | None = None) -> bytes:
    header = {} if event_id is None else {"event_id": event_id}
    event = json.dumps({"message": title})
    return f'{json.dumps(header)}\n{{"type":"event"}}\n{event}\n'.encode()


def inspect(folder: Path, kafka: KafkaBroker, *arguments: str) -> InspectorProcess:
    servers = ("--bootstrap-servers", kafka.bootstrap_servers)
    return InspectorProcess(folder, *servers, *arguments)


def titles(inspector: InspectorProcess) -> list[str]:
    return [event["title"] for event in reversed(inspector.events())]


def test_a_topic_is_shown_live_whatever_it_contains(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic(2)
    kafka.produce(name, [envelope("first"), b"\xff junk", None, b""], partition=1)
    with inspect(tmp_path, kafka, "--topic", name, "--consumer", "envelopes") as inspector:
        inspector.wait_for_events(4)
        kafka.produce(name, [b"[" * 10_000, envelope("live")], partition=0)
        events = inspector.wait_for_events(6)
        assert [event["type"] for event in reversed(events)] == [
            "default", "undecodable", "undecodable", "undecodable", "undecodable", "default",
        ]  # fmt: skip
        assert titles(inspector)[-1] == "live"
        origin = events[0]["origin"]
        assert (origin["topic"], origin["partition"], origin["offset"]) == (name, 0, 1)
        assert events[0]["received_at"] == origin["timestamp_ms"] / 1000
        assert inspector.get("/api/status")["source"]["problem"] is None
        assert inspector.stop() == 0
    groups = kafka.admin.list_consumer_groups().result(30)
    assert not any(name in each.group_id for each in groups.valid)
    assert kafka.committed("consumer-fleet-reader", name) == {}


def test_it_starts_at_the_latest_1000_or_the_given_position(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic(4)
    for index in range(4):
        kafka.produce(name, [envelope(f"{index}:{n}") for n in range(400)], partition=index)
    source = ("--topic", name, "--consumer", "envelopes")
    with inspect(tmp_path, kafka, *source) as inspector:
        found = {event["title"] for event in inspector.wait_for_events(1000)}
        assert found == {f"{index}:{n}" for index in range(4) for n in range(150, 400)}
    with inspect(tmp_path, kafka, *source, "--from", "-3") as inspector:
        found = {event["title"] for event in inspector.wait_for_events(12)}
        assert found == {f"{index}:{n}" for index in range(4) for n in range(397, 400)}
    with inspect(tmp_path, kafka, *source, "--from", "earliest", "--keep", "50") as inspector:
        inspector.wait_for(
            lambda: inspector.get("/api/status")["counts"]["accepted"] == 1600, "all messages"
        )
        assert inspector.get("/api/status")["counts"]["kept"] <= 50


def test_an_event_that_is_not_listed_is_found_in_the_topic(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic()
    event_id = uuid.uuid4().hex
    kafka.produce(name, [envelope("long ago", event_id), envelope("now")])
    source = ("--topic", name, "--consumer", "envelopes", "--from", "latest")
    with inspect(tmp_path, kafka, *source) as inspector:
        assert inspector.events() == []
        # The search itself ends after 30 s.
        found = inspector.get(f"/api/lookup/{event_id}", timeout_s=60)["id"]
        summary = inspector.get(f"/api/events/{found}")["summary"]
        assert (summary["title"], summary["origin"]["offset"]) == ("long ago", 0)


def test_dead_letters_are_shown_with_reason_and_original_position(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic()
    facts = Facts("http_413", "too large", "envelopes", 3, 77, 1_700_000_000_000, "group-1")
    kafka.produce(name, [envelope("refused")], headers=_as_bytes(with_facts((), facts)))
    elsewhere = with_facts((), facts._replace(topic="renamed"))
    kafka.produce(name, [envelope("of a renamed topic")], headers=_as_bytes(elsewhere))
    kafka.produce(name, [b"no dead letter"])
    with inspect(tmp_path, kafka, "--dlq", name) as inspector:
        plain, renamed, refused = inspector.wait_for_events(3)
        assert refused["title"] == "refused"
        assert refused["origin"]["topic"] == name
        assert refused["dead_letter"] == {
            "reason": "http_413",
            "detail": "too large",
            "group": "group-1",
            "topic": "envelopes",
            "partition": 3,
            "offset": 77,
        }
        assert renamed["type"] == "undecodable"
        assert renamed["title"] == "http_413: too large", "why it is a dead letter"
        assert (plain["type"], plain["dead_letter"]) == ("undecodable", None)
        assert len(inspector.events("dead=1")) == 2
    with inspect(tmp_path, kafka, "--dlq", name, "--consumer", "envelopes") as inspector:
        inspector.wait_for_events(3)
        assert "of a renamed topic" in titles(inspector)


def _as_bytes(headers: list[tuple[str, str | bytes | None]]) -> list[tuple[str, bytes | None]]:
    return [(name, v.encode() if isinstance(v, str) else v) for name, v in headers]


def test_a_missing_topic_is_an_error_and_not_created(kafka: KafkaBroker, tmp_path: Path) -> None:
    for arguments in (("--dlq", "missing"), ("--dlq", "missing", "--from", "earliest")):
        run = run_command(
            "inspect", *arguments, "--bootstrap-servers", kafka.bootstrap_servers, cwd=tmp_path
        )
        assert run.returncode == 78
        assert "'missing'" in run.stderr
        assert run.stdout == ""
    assert "missing" not in kafka.admin.list_topics(timeout=10).topics


def test_a_run_delivers_to_it_and_it_shows_each_messages_position(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    name = topic()
    kafka.produce(name, [envelope(f"number {n}") for n in range(20)])
    with InspectorProcess(tmp_path) as inspector:
        run = run_command(
            "run", "--topic", "envelopes", "--physical-topic", name, "--stop-at-end",
            "--bootstrap-servers", kafka.bootstrap_servers, "--upstream-dsn", inspector.dsn,
            "--group", name, "--workers", "1", "--set", "envelope_origin=true",
            cwd=tmp_path,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        events = inspector.events()
        positions = {
            event["title"]: (event["origin"]["topic"], event["origin"]["offset"])
            for event in events
        }
        assert positions == {f"number {n}": (name, n) for n in range(20)}
        assert {event["answers"][0]["status"] for event in events} == {200}
