"""Attachments in chunks: whole at the destination, byte for byte, whatever happens on the way."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter
from tests.conftest import TopicFactory
from tests.support.attachments import AttachedEvent, attached_event, chunk_message, described
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until
from tests.support.scripted_receiver import ScriptedReceiver

# ATTACHMENTS=full: 2,000 attachments up to Relay's limit, which takes minutes and 8 GB of memory.
FULL = os.environ.get("ATTACHMENTS") == "full"
FULL_SIZES = [megabytes << 20 for megabytes in (*range(10, 200, 10), 200)]
# A killed member is.
_SOON_REPLACED = ("--kafka-config", "session.timeout.ms=3000,heartbeat.interval.ms=500")


def spread(events: list[AttachedEvent], chance: random.Random) -> list[tuple[int, bytes]]:
    """The messages of all events as partition and value: mixed over four partitions, some of them
    twice, some out of order.
    """
    messages: list[tuple[int, bytes]] = []
    for event in events:
        own = [(chance.randrange(4), value) for value in event.messages]
        own += [each for each in own if chance.random() < 0.1]
        if chance.random() < 0.3:
            chance.shuffle(own)
        messages += own
    # Neighbours change places: events overlap.
    for _ in range(len(messages)):
        at = chance.randrange(max(1, len(messages) - 5))
        other = min(len(messages) - 1, at + chance.randrange(5))
        messages[at], messages[other] = messages[other], messages[at]
    return messages


def test_a_recording_is_replayed_with_whole_attachments(
    tmp_path: Path, upstream: ScriptedReceiver
) -> None:
    chance = random.Random(1)
    sizes = [[], [0], [1], [5_000_000], [3, 70_000], [1_048_576, 1_048_577]]
    events = [attached_event(chance, each, chunk_bytes=65_536) for each in sizes * 10]
    header = RecordingHeader("ingest-attachments", 4, 0, {}, consumer="ingest-attachments")
    with RecordingWriter(tmp_path / "all.recording", header) as writer:
        orphan = (0, chunk_message("a" * 32, "b", 0, b"left"))
        for offset, (partition, value) in enumerate([*spread(events, chance), orphan]):
            writer.write([(partition, Record(offset, 1_700_000_000_000, None, value, ()))])
        writer.complete()
    done = run_command(
        *("replay", "all.recording", "--through", "ingest-attachments", "--workers", "2"),
        *("--upstream-dsn", upstream.dsn(), "--set", f"assembly_dir={tmp_path}"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    found = {each.event_id: described(each) for each in upstream.envelopes}
    assert found == {each.event_id: each.expected for each in events}
    assert "orphan_chunk 1" in done.stdout, done.stdout
    assert [each.name for each in tmp_path.iterdir()] == ["all.recording"]


class Scene:
    """A topic of attachments on real Kafka, and a consumer of it."""

    def __init__(self, kafka: KafkaBroker, topic: str, folder: Path) -> None:
        self.kafka = kafka
        self.topic = topic
        self.folder = folder
        self.directory = folder / "assemblies"
        self.directory.mkdir()

    def run(self, upstream: ScriptedReceiver, *arguments: str) -> ConsumerProcess:
        return ConsumerProcess(
            self.folder,
            *("--topic", "ingest-attachments", "--physical-topic", self.topic),
            *("--group", f"{self.topic}-group", "--workers", "2"),
            *("--bootstrap-servers", self.kafka.bootstrap_servers),
            *("--upstream-dsn", upstream.dsn(), "--set", f"assembly_dir={self.directory}"),
            *arguments,
        )

    def produce(self, messages: Iterable[tuple[int, bytes]]) -> None:
        by_partition: dict[int, list[bytes]] = {}
        for partition, value in messages:
            by_partition.setdefault(partition, []).append(value)
        for partition, values in by_partition.items():
            self.kafka.produce(self.topic, values, partition=partition)

    @property
    def lag(self) -> int:
        committed = self.kafka.committed(f"{self.topic}-group", self.topic)
        ends = self.kafka.end_offsets(self.topic)
        return sum(end - max(0, committed.get(index, 0)) for index, end in ends.items())

    @property
    def files(self) -> list[Path]:
        return list(self.directory.glob("*/*"))


def kill_a_worker(consumer: ConsumerProcess, chance: random.Random) -> bool:
    """Kill one that lives; False once the consumer has ended."""
    while consumer.is_running:
        with suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(consumer.worker_pids()), signal.SIGKILL)
            return True
    return False


def wait_for_requests(upstream: ScriptedReceiver, count: int, consumer: ConsumerProcess) -> None:
    """Block until there are so many, or the consumer has ended."""
    wait_until(
        lambda: len(upstream.requests) >= count or not consumer.is_running,
        timeout_s=60,
        what=f"{count} requests",
    )


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> Scene:
    return Scene(kafka, topic(4), tmp_path)


def test_attachments_are_whole_after_deaths_of_workers_and_restarts(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    chance = random.Random(2)
    many, large, restarts = (1980, FULL_SIZES, 5) if FULL else (200, [8_000_000] * 2, 2)
    sizes = [chance.choice([0, 5, 3000, 50_000, 400_000]) for _ in range(many)] + large
    chunk_bytes = 1_000_000 if FULL else 40_000
    events = [attached_event(chance, [size], chunk_bytes=chunk_bytes) for size in sizes]
    expected = {each.event_id: each.expected for each in events}
    messages = spread(events, chance)
    scene.produce(messages[: len(messages) // 2])
    kills = 0
    for last in (*[False] * restarts, True):
        arguments = ("--stop-at-end",) if last else ()
        if last:
            scene.produce(messages[len(messages) // 2 :])
        with scene.run(upstream, *_SOON_REPLACED, *arguments) as consumer:
            for _ in range(4 if FULL else 3):
                consumer.wait_for("worker_ready", 2)
                wait_for_requests(upstream, len(upstream.requests) + 5, consumer)
                kills += kill_a_worker(consumer, chance)
            if last:
                assert consumer.wait(900 if FULL else 120) == 0
            else:
                consumer.signal(signal.SIGKILL)
                consumer.wait()
    assert kills >= 3 * restarts, "the last run may be done before"
    found = {each.event_id: described(each) for each in upstream.envelopes}
    assert found == expected
    assert scene.lag == 0
    assert scene.files == []


def test_a_large_attachment_stops_neither_reading_nor_its_worker(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    chance = random.Random(3)
    large = attached_event(chance, [6_000_000], chunk_bytes=100_000)
    others = [attached_event(chance, [100]) for _ in range(30)]
    *most, last, whole = large.messages
    scene.produce((0, value) for value in (*most, whole))
    scene.produce((0, value) for other in others for value in other.messages)
    options = ("--set", "max_in_flight_mb=1", "--set", "message_timeout_s=1")
    with scene.run(upstream, *options) as consumer:
        consumer.wait_until(lambda: len(upstream.requests) == 30, "the events behind it")
        consumer.wait_until(lambda: len(scene.files) == 60, "the end of the others' files")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
    assert scene.lag == 120, "the commit waits at the first chunk"
    with scene.run(upstream, *options) as consumer:
        scene.produce([(1, last)])
        consumer.wait_until(lambda: scene.lag == 0, "the commit of everything")
        assert consumer.events("worker_died") == []
        assert scene.files == []
    found = [(each.event_id, described(each)) for each in upstream.envelopes]
    assert dict(found) == {each.event_id: each.expected for each in (large, *others)}
    assert len(found) == 31, "the restart has sent nothing again"


def test_an_attachment_is_waited_for_by_kafkas_time(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    chance = random.Random(4)
    old, young = (attached_event(chance, [200], chunk_bytes=100) for _ in range(2))
    two_hours_ago_ms = int((time.time() - 7200) * 1000)
    first, second, whole = old.messages
    values = [first, whole]
    scene.kafka.produce(scene.topic, values, partition=0, timestamp_ms=two_hours_ago_ms)
    scene.produce((1, value) for value in (young.messages[0], young.messages[2]))
    with scene.run(upstream) as consumer:
        consumer.wait_until(lambda: len(upstream.requests) == 1, "the old event")
        assert described(upstream.envelopes[0]) == old.expected[:1]
        scene.produce([(0, second), (1, young.messages[1])])
        consumer.wait_until(lambda: scene.lag == 0, "the commit of everything")
        consumer.signal(signal.SIGTERM)
        assert consumer.wait() == 0
        (summary,) = consumer.events("summary")
        assert summary["filtered"] == {"missing_chunks": 1, "orphan_chunk": 1}
    assert [described(each) for each in upstream.envelopes[1:]] == [young.expected]


def test_a_rejected_envelope_is_replayed_from_its_dead_letters(
    scene: Scene, upstream: ScriptedReceiver
) -> None:
    event = attached_event(random.Random(5), [250, 90], chunk_bytes=100)
    scene.produce((index % 4, value) for index, value in enumerate(event.messages))
    upstream.respond(413)
    with scene.run(upstream, "--stop-at-end") as consumer:
        assert consumer.wait() == 0
    letters = [Record.from_kafka(each) for each in scene.kafka.read(f"{scene.topic}-dlq")]
    assert sorted(each.value or b"" for each in letters) == sorted(event.messages)
    assert scene.lag == 0
    upstream.respond(200)
    done = run_command(
        *("dlq", "replay", "--topic", "ingest-attachments", "--dlq-topic", f"{scene.topic}-dlq"),
        *("--bootstrap-servers", scene.kafka.bootstrap_servers, "--yes"),
        *("--upstream-dsn", upstream.dsn()),
        cwd=scene.folder,
    )
    assert done.returncode == 0, done.stderr
    assert described(upstream.envelopes[-1]) == event.expected
