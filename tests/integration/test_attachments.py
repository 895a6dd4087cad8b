"""Attachments in chunks: whole at the destination, byte for byte, whatever happens on the way."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter
from tests.conftest import TopicFactory
from tests.support.attachments import AttachedEvent, attached_event, chunk_message, described
from tests.support.consumer_process import ConsumerProcess, run_command
from tests.support.kafka_broker import KafkaBroker
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

# ATTACHMENTS=full: 2,000 attachments up to Relay's limit, which takes minutes and 6 GB of memory.
FULL = os.environ.get("ATTACHMENTS") == "full"
LARGE = [megabytes << 20 for megabytes in (*range(10, 200, 10), 200)] if FULL else [8_000_000] * 2
SMALL = 2000 - len(LARGE) if FULL else 200
CHUNK_BYTES = 1 << 20 if FULL else 40_000
# With the run after the last restart: 24 kills, or 9.
RESTARTS, KILLS_PER_RUN, PER_KILL = (5, 4, 60) if FULL else (2, 3, 15)
# A killed member is.
_SOON_REPLACED = ("--kafka-config", "session.timeout.ms=3000,heartbeat.interval.ms=500")


def spread(
    events: list[AttachedEvent], chance: random.Random, *, whole_too: bool
) -> list[tuple[int, bytes]]:
    """The messages of all events as partition and value: mixed over four partitions, some chunks
    twice, some out of order; with ``whole_too``, also some of the events that name them twice.
    """
    messages: list[tuple[int, bytes]] = []
    for event in events:
        own = [(chance.randrange(4), value) for value in event.messages]
        own += [each for each in (own if whole_too else own[:-1]) if chance.random() < 0.1]
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
        for offset, (partition, value) in enumerate(
            [*spread(events, chance, whole_too=True), orphan]
        ):
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


class Gate:
    """Lets so many requests be answered; the others wait. Keeps descriptions, not bodies: what is
    accepted may be larger than memory.
    """

    def __init__(self, upstream: ScriptedReceiver) -> None:
        self._upstream = upstream
        self.found: list[tuple[str | None, tuple[tuple[str, ...], ...]]] = []
        self._allowed = threading.Semaphore(0)

    def take(self, request: ReceivedRequest) -> Reply:
        self._allowed.acquire()
        if self._upstream.has_left(request):
            self._allowed.release()  # a killed one's: it is for another
            return Reply(hang_up=True)
        self.found.append((request.envelope.event_id, described(request.envelope)))
        return Reply()

    def open(self) -> None:
        self._allowed.release(1_000_000)

    def kill_a_worker(self, consumer: ConsumerProcess, chance: random.Random) -> None:
        """Let some requests pass, kill a worker while others wait, and wait for its successor."""
        goal, deaths = len(self.found) + PER_KILL, len(consumer.events("worker_died"))
        self._allowed.release(PER_KILL)
        consumer.wait_until(lambda: len(self.found) >= goal, f"{goal} envelopes")
        os.kill(chance.choice(consumer.worker_pids()), signal.SIGKILL)
        consumer.wait_for("worker_ready", 2 + deaths + 1)
        assert len(consumer.events("worker_died")) == deaths + 1


@pytest.fixture
def scene(kafka: KafkaBroker, topic: TopicFactory, tmp_path: Path) -> Scene:
    return Scene(kafka, topic(4), tmp_path)


@pytest.mark.timeout(1200 if FULL else 180)
def test_attachments_are_whole_after_deaths_of_workers_and_restarts(scene: Scene) -> None:
    chance = random.Random(2)
    sizes = [*(chance.choice([0, 5, 3000, 50_000, 400_000]) for _ in range(SMALL)), *LARGE]
    chance.shuffle(sizes)
    events = [attached_event(chance, [size], chunk_bytes=CHUNK_BYTES) for size in sizes]
    expected = {each.event_id: each.expected for each in events}
    # An event that is there twice, and read again after a restart, may find its chunks settled.
    messages = spread(events, chance, whole_too=False)
    del events
    kills = 0
    with ScriptedReceiver(keep_bodies=False) as upstream:
        gate = Gate(upstream)
        upstream.respond(gate.take)
        for runs_left in range(RESTARTS, -1, -1):
            share = -(-len(messages) // (runs_left + 1))
            scene.produce(messages[:share])
            del messages[:share]
            last = () if runs_left else ("--stop-at-end",)
            with scene.run(upstream, *_SOON_REPLACED, *last) as consumer:
                consumer.wait_for("worker_ready", 2)
                for _ in range(KILLS_PER_RUN):
                    gate.kill_a_worker(consumer, chance)
                    kills += 1
                if last:
                    gate.open()
                    assert consumer.wait(900 if FULL else 120) == 0
                else:
                    consumer.signal(signal.SIGKILL)
                    consumer.wait()
    figures = f"{kills} kills, {RESTARTS} restarts, {len(gate.found) - len(expected)} sent again"
    print(figures)  # noqa: T201 - with -s, it is what the full run shows
    assert dict(gate.found) == expected
    assert len(set(gate.found)) == len(expected), "what is repeated is whole, too"
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
    options = ("--set", "max_in_flight_mb=1", "--set", "message_timeout_s=3")
    with scene.run(upstream, *options) as consumer:
        consumer.wait_until(lambda: len(upstream.requests) >= 30, "the events behind it")
        consumer.wait_until(lambda: len(scene.files) == 60, "the end of the others' files")
        since = time.monotonic()
        consumer.wait_until(lambda: time.monotonic() > since + 4, "more than message_timeout_s")
        assert consumer.events("worker_died") == []
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
        committed = partial(scene.kafka.committed, f"{scene.topic}-group", scene.topic)
        consumer.wait_until(lambda: committed().get(0) == 2, "its commit")
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
