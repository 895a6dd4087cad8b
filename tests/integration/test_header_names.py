"""A header whose name is not UTF-8 ends nothing: its message keeps key, value and header values."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from consumer_fleet.kafka.chunk import UNREADABLE_NAME, Record
from consumer_fleet.recording.reader import Recording
from tests.conftest import TopicFactory
from tests.support.consumer_process import run_command
from tests.support.dead_letter_scene import DeadLetterScene, ids, ingest_event
from tests.support.inspector_process import InspectorProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.raw_headers import produce_with_raw_headers
from tests.support.scripted_receiver import ScriptedReceiver

RAW = [(b"first", b"1"), (b"caf\xe9", b"2"), (b"\xff", b""), (b"last", b"3")]
READ = (("first", b"1"), (UNREADABLE_NAME, b"2"), (UNREADABLE_NAME, b""), ("last", b"3"))
BAD = b"no MessagePack"


def test_a_header_name_that_is_not_utf8_ends_no_command(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    scene = DeadLetterScene(kafka, topic(1), tmp_path)
    event_id = uuid.uuid4().hex
    good = ingest_event(event_id)
    produce_with_raw_headers(kafka.bootstrap_servers, scene.topic, [good, BAD], RAW)

    scene.dead_letter([], upstream)
    assert ids(upstream) == {event_id: 1}
    (letter,) = [Record.from_kafka(message) for message in kafka.read(scene.dlq)]
    assert (letter.key, letter.value, letter.headers[:4]) == (b"key", BAD, READ)
    assert dict(letter.headers)["dlq.reason"] == b"invalid_msgpack"

    assert scene.reasons() == {"invalid_msgpack": 1}
    assert scene.command("show", "0").returncode == 0
    replayed = scene.replay(upstream)
    assert replayed.returncode == 0, replayed.stderr

    servers = ("--bootstrap-servers", kafka.bootstrap_servers)
    recorded = run_command(
        *("record", "--topic", scene.topic, "-o", "all.recording", *servers), cwd=tmp_path
    )
    assert recorded.returncode == 0, recorded.stderr
    assert "header_name_unreadable" in recorded.stderr
    records = [record for _, record in Recording(tmp_path / "all.recording").messages()]
    assert [(r.key, r.value, r.headers) for r in records] == [
        (b"key", value, READ) for value in (good, BAD)
    ]

    other = topic(1)
    copied = run_command(
        *("replay", "--topic", scene.topic, "--to-topic", other, "--json", *servers), cwd=tmp_path
    )
    assert copied.returncode == 0, copied.stderr
    assert json.loads(copied.stdout)["messages"] == 2
    assert [Record.from_kafka(message).headers for message in kafka.read(other)] == [READ, READ]

    with InspectorProcess(
        tmp_path, *servers, "--topic", scene.topic, "--consumer", "ingest-events"
    ) as inspector:
        assert len(inspector.wait_for_events(2)) == 2
        assert inspector.stop() == 0
