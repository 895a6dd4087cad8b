"""``consumer replay`` and ``record`` on a real Kafka: what they refuse, and what they say of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from consumer_fleet.dead_letter_headers import Facts, with_facts
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from tests.conftest import TopicFactory
from tests.support.consumer_process import run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.recordings import Pair, write_recording

KEEP = {"retention.ms": -1}
FIRST_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def consumer(kafka: KafkaBroker, *arguments: str, code: int = 0) -> str:
    """Return what it prints: on stderr, unless the code is 0."""
    run = run_command(*arguments, "--bootstrap-servers", kafka.bootstrap_servers)
    assert run.returncode == code, run.stdout + run.stderr
    return run.stderr if code else run.stdout


def recorded(path: Path, pairs: list[Pair], topic: str = "source") -> str:
    header = RecordingHeader(topic, 2, FIRST_MS, {}, consumer="events")
    return str(write_recording(path, pairs, header))


def hourly(count: int, first_ms: int = FIRST_MS) -> list[Pair]:
    return [(n % 2, Record(n // 2, first_ms + n * HOUR_MS, None, b"[]", ())) for n in range(count)]


def times(kafka: KafkaBroker, topic: str) -> list[int]:
    return sorted(message.timestamp()[1] for message in kafka.read(topic))


@pytest.mark.parametrize("speed", ["max", "100000x"])
def test_shifted_times_keep_their_distances_and_none_lies_in_the_future(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path, speed: str
) -> None:
    path = recorded(tmp_path / "r", hourly(6))
    target, copy, first = (topic(2, KEEP) for _ in range(3))
    shift = ("--shift-time", "--format", "events", "--speed", speed)
    began_ms = int(time.time() * 1000)
    consumer(kafka, "replay", path, "--to-topic", target, *shift)
    consumer(kafka, "replay", "--topic", target, "--to-topic", copy, *shift)
    consumer(kafka, "replay", "--topic", target, "--to-topic", first, *shift, "--limit", "1")
    now_ms = int(time.time() * 1000)
    for replayed in (target, copy):
        found = times(kafka, replayed)
        assert [each - found[0] for each in found] == [n * HOUR_MS for n in range(6)]
        assert began_ms <= found[-1] <= now_ms
    (only,) = times(kafka, first)
    # Which partition comes first is Kafka's choice: the later of both is now.
    assert only <= now_ms < only + 2 * HOUR_MS


def test_at_their_own_speed_the_first_message_is_now(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    pairs = [(0, Record(n, FIRST_MS + n * 400, None, b"[]", ())) for n in range(3)]
    target, began_ms = topic(2, KEEP), int(time.time() * 1000)
    consumer(
        kafka, "replay", recorded(tmp_path / "r", pairs), "--to-topic", target, "--shift-time",
        "--speed", "1x",
    )  # fmt: skip
    found = times(kafka, target)
    assert began_ms <= found[0]
    assert [each - found[0] for each in found] == [0, 400, 800]
    assert found[-1] <= int(time.time() * 1000)


def test_a_refused_timestamp_is_named_with_its_remedy(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    now_ms = int(time.time() * 1000)
    pairs = [(0, Record(n, FIRST_MS + n, None, b"x" * 50, ())) for n in range(20)]
    future = (0, Record(20, now_ms + 9 * HOUR_MS, None, b"x", ()))
    target = topic(2, KEEP)
    path = recorded(tmp_path / "r", [*pairs, future])
    run = run_command(
        "replay", path, "--to-topic", target, "--json",
        "--bootstrap-servers", kafka.bootstrap_servers,
    )  # fmt: skip
    assert run.returncode == 65
    assert "another message" not in run.stderr
    assert "timestamp" in run.stderr
    assert "message.timestamp.after.max.ms" in run.stderr
    assert "--shift-time" in run.stderr
    summary = json.loads(run.stdout)
    held = len(kafka.read(target))
    assert (summary["messages"], summary["payload_bytes"]) == (held, held * 50)


def test_a_message_without_a_key_on_a_compacted_topic_is_explained(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    path = recorded(tmp_path / "r", hourly(2))
    said = consumer(
        kafka, "replay", path, "--to-topic", topic(2, {"cleanup.policy": "compact"}), code=65
    )
    assert "a compacted topic refuses messages without a key" in said


def test_dead_letters_do_not_go_back_into_their_topic_unless_it_is_said(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    origin, dead = topic(2, KEEP), topic(1, KEEP)
    facts = Facts("invalid_json", "", origin, 0, 7, FIRST_MS, "g")
    headers = [(name, value) for name, value in with_facts([], facts) if isinstance(value, bytes)]
    kafka.produce(dead, [b"1"])
    kafka.produce(dead, [b"2"], headers=headers)
    path = tmp_path / "letters"
    consumer(kafka, "record", "--topic", dead, "-o", str(path))
    for source in (("--topic", dead), (str(path),)):
        said = consumer(kafka, "replay", *source, "--to-topic", origin, code=2)
        assert f"a dead letter of {origin!r}" in said
        assert "consumer dlq replay" in said
        assert kafka.read(origin) == []
        consumer(kafka, "replay", *source, "--to-topic", f"{dead}-copy", "--create")
    consumer(kafka, "replay", str(path), "--to-topic", origin, "--yes")
    assert len(kafka.read(origin)) == 2


def test_an_empty_range_is_named_and_nothing_is_made(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    path, target = recorded(tmp_path / "r", hourly(4)), f"{topic(1)}-copy"
    empty = topic(2)
    create = ("--to-topic", target, "--create")
    said = consumer(kafka, "replay", path, *create, "--from", "2030-01-01T00:00", code=1)
    assert f"{path} has no messages from 2030-01-01T00:00 to latest" in said
    for span in (("--from", "latest"), ("--to", "earliest")):
        assert "has no messages" in consumer(kafka, "replay", path, *create, *span, code=1)
    said = consumer(kafka, "replay", "--topic", empty, *create, code=1)
    assert f"{empty} has no messages from earliest to latest" in said
    assert target not in kafka.admin.list_topics(timeout=10).topics
    run = run_command("replay", path, "--through", "events", "--from", "latest", cwd=tmp_path)
    assert (run.returncode, "has no messages" in run.stderr) == (1, True)


def test_a_recording_is_not_begun_where_its_file_cannot_be(
    kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path
) -> None:
    source = topic(1, KEEP)
    kafka.produce(source, [b"1"], timestamp_ms=FIRST_MS)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    record = ("record", "--topic", source, "-o")
    for name in ("folder", "pipe"):
        said = consumer(kafka, *record, str(tmp_path / name), "--force", code=74)
        assert f"{name} is not a regular file and is kept" in said
    for nothing in ("", ".", "/"):
        assert "is not a file name" in consumer(kafka, *record, nothing, "--force", code=74)
    said = consumer(kafka, *record, str(tmp_path / "r"), "--limit", "9" * 23, code=2)
    assert "--limit" in said
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "pipe"]
