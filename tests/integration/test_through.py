"""``consumer replay FILE --through``: a recording through the whole pipeline, without Kafka."""

from __future__ import annotations

import json
import re
import signal
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from consumer_fleet.codec import RawMessage
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.dead_letter_scene import ids, ingest_event
from tests.support.scripted_receiver import Reply, ScriptedReceiver

REPLAY = ("replay", "events.recording", "--through", "ingest-events", "--workers", "2")


def record(folder: Path, values: Iterable[bytes | None], *, first: int = 1000) -> Path:
    """A recording with these messages, spread over four partitions, with gaps between offsets."""
    path = folder / "events.recording"
    header = RecordingHeader("ingest-events", 4, 0, {}, consumer="ingest-events")
    with RecordingWriter(path, header) as writer:
        for number, value in enumerate(values):
            kept = Record(first + 3 * (number // 4), 1_700_000_000_000, b"key", value, ())
            writer.write([(number % 4, kept)])
        writer.complete()
    return path


def test_every_message_is_delivered_once_with_the_event_id_of_its_place(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    named = [uuid.uuid4().hex for _ in range(2_000)]
    record(tmp_path, [*map(ingest_event, named), *(ingest_event(None) for _ in range(40))])
    done = run_command(*REPLAY, "--upstream-dsn", upstream.dsn(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "delivered 2,040, filtered 0, rejected 0" in done.stdout
    derived = [
        RawMessage("ingest-events", n % 4, 1000 + 3 * (n // 4), None, None).derived_event_id()
        for n in range(2_000, 2_040)
    ]
    assert ids(upstream) == Counter([*named, *derived])
    assert [each.name for each in tmp_path.iterdir()] == ["events.recording"]


def test_what_is_rejected_is_in_a_file_that_can_be_replayed_in_its_turn(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    record(tmp_path, [b"bad", ingest_event(None, type="evemt"), ingest_event(uuid.uuid4().hex)])
    upstream_dsn = ("--upstream-dsn", upstream.dsn())
    done = run_command(*REPLAY, *upstream_dsn, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(upstream.envelopes) == 1
    rejected = tmp_path / "events.rejected.recording"
    commands = re.findall(r"consumer (.*)", done.stdout)
    assert commands == [
        "dlq list --file events.rejected.recording",
        "replay events.rejected.recording --through ingest-events",
    ]
    assert "unknown_type" in run_command(*commands[0].split(), cwd=tmp_path).stdout

    (tmp_path / "fix.py").write_text(
        "def run(record): return record._replace(value=record.value.replace(b'evemt', b'event'))\n"
    )
    again = run_command(*commands[1].split(), *upstream_dsn, "--transform", "fix:run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    derived = RawMessage("ingest-events", 1, 1000, None, None).derived_event_id()
    assert str(upstream.envelopes[-1].event_id) == derived
    assert len(upstream.envelopes) == 2
    # Twice rejected, and told once.
    kept = tmp_path / "events.rejected.rejected.recording"
    ((_, left),) = Recording(kept).messages()
    restored = restore(left.headers)
    assert restored is not None
    assert restored.last == restored.origin
    assert restored.origin.position == "ingest-events/0@1000"
    assert Recording(rejected).header.topic == "ingest-events"


def test_a_damaged_recording_is_delivered_up_to_its_damage(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    wanted = [uuid.uuid4().hex for _ in range(5_000)]
    # Several blocks: whole ones are readable.
    path = record(tmp_path, (ingest_event(each, remote_addr="x" * 500) for each in wanted))
    path.write_bytes(path.read_bytes()[:-1000])
    done = run_command(*REPLAY, "--upstream-dsn", upstream.dsn(), cwd=tmp_path)
    assert done.returncode == 65, done.stderr
    assert "Traceback" not in done.stderr
    (readable,) = re.findall(r"([\d,]+) messages are readable", done.stderr)
    count = int(readable.replace(",", ""))
    assert 0 < count < 5_000
    assert ids(upstream) == Counter(wanted[:count])


def test_a_stop_in_the_middle_settles_in_order_and_says_how_far(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    wanted = [uuid.uuid4().hex for _ in range(3_000)]
    record(tmp_path, map(ingest_event, wanted))
    upstream.respond(lambda _: Reply(delay_s=0.5 if len(upstream.requests) > 200 else 0.0))
    settings = ("--set", "connections=4", "--set", "shutdown_timeout=5")
    arguments = ("--upstream-dsn", upstream.dsn(), *settings)
    with ConsumerProcess(tmp_path, *arguments, command=REPLAY) as replay:
        replay.wait_until(lambda: len(upstream.requests) > 210, "deliveries")
        replay.signal(signal.SIGTERM)
        assert replay.wait(60) == 143
        said = replay.output()
    assert "Stopped before the end of" in said
    accepted = set(ids(upstream))
    places = re.findall(r"partition (\d) up to offset (\d+)", said)
    assert places
    for index, offset in places:
        below = range((int(offset) - 1000 + 2) // 3)
        assert {wanted[4 * n + int(index)] for n in below} <= accepted


def test_a_signal_while_the_last_messages_are_in_flight_leaves_nothing(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    wanted = [uuid.uuid4().hex for _ in range(6)]
    record(tmp_path, map(ingest_event, wanted))
    upstream.respond(lambda _: Reply(delay_s=2.0))
    arguments = ("--upstream-dsn", upstream.dsn(), "--set", "connections=6", "--json")
    with ConsumerProcess(tmp_path, *arguments, command=REPLAY) as replay:
        replay.wait_until(lambda: len(upstream.requests) == 6, "deliveries")
        replay.signal(signal.SIGINT)
        assert replay.wait(60) == 0
        document = json.loads(replay.output().splitlines()[-1])
    assert ids(upstream) == Counter(wanted)
    assert (document["delivered"], document["interrupted"], document["complete"]) == (
        6,
        False,
        True,
    )


def test_an_upstream_that_is_away_is_waited_for_and_memory_stays_flat(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    pad = uuid.uuid4().hex * 2_000
    wanted = [uuid.uuid4().hex for _ in range(1_500)]
    record(tmp_path, (ingest_event(each, remote_addr=pad) for each in wanted))
    upstream.respond(503)
    arguments = ("--upstream-dsn", upstream.dsn(), "--set", "max_in_flight_mb=4")
    with ConsumerProcess(
        tmp_path, *arguments, command=REPLAY, environment={"CONSUMER_LOG_FORMAT": "json"}
    ) as replay:
        replay.wait_for("destination_backing_off")
        # Longer than the 5 s after which arroyo pauses the source.
        replay.wait_for("progress")
        assert resident_mb(replay.pid) < 160
        upstream.respond(200)
        assert replay.wait(120) == 0
    assert ids(upstream) == Counter(wanted)


def resident_mb(pid: int) -> float:
    (size,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(size) / 1024


def test_without_a_dsn_a_receiver_takes_the_messages_and_a_banner_says_where(
    tmp_path: Path,
) -> None:
    record(tmp_path, [ingest_event(uuid.uuid4().hex) for _ in range(5)])
    done = run_command(*REPLAY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"This is a demonstration.*\n.*http://127\.0\.0\.1:\d+/", done.stderr)
    assert "delivered 5" in done.stdout


def test_a_transform_that_is_none_is_refused_before_anything_starts(tmp_path: Path) -> None:
    record(tmp_path, [ingest_event(uuid.uuid4().hex)])
    done = run_command(*REPLAY, "--transform", "fix:run", cwd=tmp_path)
    assert done.returncode == 78
    assert "can't be imported: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [line for line in done.stderr.splitlines() if "worker_ready" in json.dumps(line)]
