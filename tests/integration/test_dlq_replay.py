"""``consumer dlq replay`` on real Kafka: what was rejected is delivered, each message once."""

from __future__ import annotations

import signal
import threading
import uuid
from collections import Counter
from pathlib import Path

import orjson
import pytest

from consumer_fleet.codec import RawMessage
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.reader import Recording
from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess
from tests.support.dead_letter_scene import DeadLetterScene, ids, ingest_event
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import Reply, ScriptedReceiver

# Takes back the three kinds of damage that the tests do to good messages.
FIX = """
def run(record):
    value = record.value or b""
    if value.startswith(b"DAMAGED"):
        value = value.removeprefix(b"DAMAGED")
    if value == b"skip me":
        return None
    if value == b"blow up":
        raise LookupError("unknown cause")
    return record._replace(value=value.replace(b"evemt", b"event"))
"""


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> DeadLetterScene:
    (tmp_path / "fix.py").write_text(FIX)
    return DeadLetterScene(kafka, topic(4), tmp_path)


def test_500_poison_messages_are_listed_fixed_and_delivered_exactly_once(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    good, prefixed, mistyped, refused = (
        [uuid.uuid4().hex for _ in range(count)] for count in (100, 200, 150, 100)
    )
    nameless = 50
    upstream.respond(
        lambda request: Reply(400 if str(request.envelope.event_id) in refused_set else 200)
    )
    refused_set = set(refused)
    # Four origins, three partitions: the same offsets of two origins meet in one of them.
    scene.kafka.create_topic(scene.dlq, 3)
    values = [
        *(ingest_event(each) for each in good),
        *(b"DAMAGED" + ingest_event(each) for each in prefixed),
        *(ingest_event(each, type="evemt") for each in mistyped),
        *(ingest_event(each) for each in refused),
        *(ingest_event(None, type="evemt", project_id=n) for n in range(nameless)),
    ]
    for index in range(4):
        scene.kafka.produce(scene.topic, values[index::4], partition=index)
    scene.dead_letter([], upstream)
    assert ids(upstream) == Counter(good)
    assert scene.reasons() == {"invalid_msgpack": 200, "unknown_type": 200, "http_400": 100}
    ends = scene.kafka.end_offsets(scene.dlq)
    assert sum(ends.values()) == 500
    found = [restore(Record.from_kafka(message).headers) for message in scene.kafka.read(scene.dlq)]
    places = Counter(each.origin.position for each in found if each is not None)
    assert places.total() == len(places) == 500

    refused_set.clear()
    before = len(upstream.envelopes)
    done = scene.replay(upstream, "--transform", "fix:run", "--set", "envelope_origin=true")
    assert done.returncode == 0, done.stderr
    assert "delivered 500, filtered 0, rejected 0" in done.stdout
    delivered = upstream.envelopes[before:]
    origins = [orjson.loads(each.header)["kafka"] for each in delivered]
    derived = {
        RawMessage(**each, timestamp_ms=None, value=None).derived_event_id() for each in origins
    }
    assert Counter("{topic}/{partition}@{offset}".format(**each) for each in origins) == places
    named = {*prefixed, *mistyped, *refused}
    event_ids = {str(each.event_id) for each in delivered}
    assert named <= event_ids
    assert len(event_ids - named) == nameless
    assert event_ids - named <= derived
    # A producer without keys may leave one of few partitions empty: nothing to commit there.
    assert scene.replayed() == {index: end for index, end in ends.items() if end}
    assert not list(scene.folder.glob("*.recording*"))

    requests = len(upstream.requests)
    again = scene.replay(upstream, "--transform", "fix:run")
    assert again.returncode == 0, again.stderr
    assert "Nothing to replay" in again.stdout + again.stderr
    assert len(upstream.requests) == requests
    assert scene.kafka.end_offsets(scene.dlq) == ends


def test_what_is_still_bad_goes_to_the_rejects_file_and_not_back_to_the_topic(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    fixed = [uuid.uuid4().hex for _ in range(3)]
    bad: list[bytes | None] = [b"still no MessagePack", None, b"blow up", b"skip me"]
    values: list[bytes | None] = [*(b"DAMAGED" + ingest_event(each) for each in fixed), *bad]
    scene.dead_letter(values, upstream)
    ends = scene.kafka.end_offsets(scene.dlq)
    originals = {
        message.offset(): restore(Record.from_kafka(message).headers)
        for message in scene.kafka.read(scene.dlq)
    }

    done = scene.replay(upstream, "--transform", "fix:run")
    assert done.returncode == 0, done.stderr
    assert ids(upstream) == Counter(fixed)
    assert "delivered 3, filtered 1 (transform 1), rejected 3" in done.stdout
    assert "Traceback" not in done.stderr
    path = scene.folder / f"{scene.dlq}.rejected.recording"
    assert path.name in done.stdout
    assert scene.kafka.end_offsets(scene.dlq) == ends
    assert scene.replayed() == ends, "messages in the file are settled"

    kept = {record.value: record for _, record in Recording(path).messages()}
    assert set(kept) == {b"still no MessagePack", None, b"blow up"}
    for value, record in kept.items():
        restored = restore(record.headers)
        assert restored is not None
        first = originals[record.offset]
        assert first is not None
        assert restored.headers == ()
        assert restored.origin.position == first.origin.position
        assert restored.last == restored.origin, "the last rejection replaces the earlier one"
        reason = "transform_failed" if value == b"blow up" else restored.last.reason
        assert restored.last.reason == reason
    blown_up = restore(kept[b"blow up"].headers)
    assert blown_up is not None
    assert blown_up.last.detail == "LookupError: unknown cause (fix.py, line 9)"

    listed = scene.command("list", "--file", str(path))
    assert "transform_failed" in listed.stdout


def test_a_filtered_replay_sends_what_it_names_and_takes_nothing_from_the_others(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    prefixed, mistyped = ([uuid.uuid4().hex for _ in range(5)] for _ in range(2))
    values = [
        *(b"DAMAGED" + ingest_event(each) for each in prefixed),
        *(ingest_event(each, type="evemt") for each in mistyped),
    ]
    scene.dead_letter(values, upstream)
    fix = ("--transform", "fix:run")
    planned = scene.replay(upstream, "--reason", "unknown_type", "--dry-run", *fix)
    assert "Would replay 5 dead letters" in planned.stdout
    assert ids(upstream) == Counter()

    for times in (1, 2):
        done = scene.replay(upstream, "--reason", "unknown_type", *fix)
        assert done.returncode == 0, done.stderr
        assert ids(upstream) == Counter(mistyped * times), "it is repeatable"
        assert "A filtered replay commits nothing" in done.stdout
        assert scene.replayed() == {}
    everything = scene.replay(upstream, *fix)
    assert everything.returncode == 0, everything.stderr
    assert ids(upstream) == Counter(mistyped * 3 + prefixed)
    assert scene.replayed() == scene.kafka.end_offsets(scene.dlq)
    # A filter chooses among what is left; only a place goes back.
    assert "Nothing to replay" in scene.replay(upstream, "--reason", "unknown_type", *fix).stderr
    back = scene.replay(upstream, "--since", "earliest", "--reason", "invalid_msgpack", *fix)
    assert back.returncode == 0, back.stderr
    assert ids(upstream) == Counter(mistyped * 3 + prefixed * 2)


def test_a_second_replay_at_the_same_time_is_refused_and_a_stopped_one_goes_on_where_it_was(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    wanted = [uuid.uuid4().hex for _ in range(300)]
    scene.dead_letter([b"DAMAGED" + ingest_event(each) for each in wanted], upstream)
    # After a hundred it answers slowly, so that the stop comes in the middle.
    upstream.respond(lambda _: Reply(delay_s=1.0 if len(upstream.requests) > 100 else 0.0))
    arguments = (
        *("--topic", "ingest-events", "--dlq-topic", scene.dlq, "--transform", "fix:run"),
        *("--bootstrap-servers", scene.kafka.bootstrap_servers, "--workers", "1"),
        *("--upstream-dsn", upstream.dsn(), "--set", "connections=2"),
        *("--set", "shutdown_timeout=5"),
    )
    with ConsumerProcess(
        scene.folder,
        *arguments,
        command=("dlq", "replay"),
        environment={"CONSUMER_LOG_FORMAT": "json"},
    ) as first:
        first.wait_until(lambda: len(upstream.requests) > 100, "deliveries")
        second = scene.replay(upstream, "--transform", "fix:run")
        assert second.returncode == 75, second.stderr
        assert "being replayed" in second.stderr
        first.signal(signal.SIGTERM)
        assert first.wait() == 143
        assert "Stopped before the end" in first.output()
    settled = sum(scene.replayed().values())
    assert 100 <= settled <= len(ids(upstream)) < 300

    upstream.respond(200)
    done = scene.replay(upstream, "--transform", "fix:run")
    assert done.returncode == 0, done.stderr
    assert f"delivered {300 - settled}, filtered 0, rejected 0" in done.stdout
    assert set(ids(upstream)) == set(wanted)
    assert scene.replayed() == scene.kafka.end_offsets(scene.dlq)


def test_a_signal_while_all_is_in_flight_leaves_nothing_for_the_next_time(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    wanted = [uuid.uuid4().hex for _ in range(6)]
    scene.dead_letter([ingest_event(each, type="evemt") for each in wanted], upstream)
    in_flight: list[object] = []
    is_stopping = threading.Event()

    def answer(request: object) -> Reply:
        in_flight.append(request)
        is_stopping.wait(60)
        return Reply()

    upstream.respond(answer)
    with ConsumerProcess(
        scene.folder,
        *("--topic", "ingest-events", "--dlq-topic", scene.dlq, "--transform", "fix:run"),
        *("--bootstrap-servers", scene.kafka.bootstrap_servers, "--workers", "1"),
        *("--upstream-dsn", upstream.dsn(), "--set", "connections=6"),
        command=("dlq", "replay"),
        environment={"CONSUMER_LOG_FORMAT": "json"},
    ) as replay:
        replay.wait_until(lambda: len(in_flight) == 6, "deliveries")
        replay.signal(signal.SIGINT)
        replay.wait_for("stopping")
        is_stopping.set()
        assert replay.wait() == 0
        said = replay.output()
    assert "Stopped before the end" not in said
    assert "all replayed" in said
    assert ids(upstream) == Counter(wanted)
    assert scene.replayed() == scene.kafka.end_offsets(scene.dlq)


def test_a_script_gets_one_document_of_what_became_of_them(
    scene: DeadLetterScene, upstream: ScriptedReceiver
) -> None:
    scene.dead_letter(
        [*(ingest_event(uuid.uuid4().hex, type="evemt") for _ in range(3)), b"bad"], upstream
    )
    fix = ("--transform", "fix:run")
    base = {
        "topic": scene.dlq,
        "group": scene.group,
        "dry_run": True,
        "dead_letters": 4,
        "reasons": {"unknown_type": 3, "invalid_msgpack": 1},
        "consumers": ["ingest-events"],
        "not_replayed": 4,
    }
    assert scene.json("replay", "--dry-run", *fix) == base
    delivery = ("--upstream-dsn", upstream.dsn(), "--workers", "1")
    assert scene.json("replay", *delivery, *fix) == {
        **base,
        "dry_run": False,
        "delivered": 3,
        "filtered": {},
        "rejected": {"invalid_msgpack": 1},
        "rejects_file": f"{scene.dlq}.rejected.recording",
        "interrupted": False,
        "complete": True,
        "not_replayed": 0,
    }
    nothing = scene.json("replay", *delivery, *fix)
    assert (nothing["dead_letters"], nothing["delivered"], nothing["complete"]) == (0, 0, True)
    # A filtered replay says it of its own messages; the group stays.
    again = scene.json("replay", *delivery, *fix, "--since", "earliest", "--reason", "unknown_type")
    assert (again["delivered"], again["complete"]) == (3, True)
