"""Measure the speed of recording and replaying a topic against the bare client, and its memory.

``make bench ARGS="--only recordings"``, or alone ``python -m bench.recordings``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from rich.console import Console

from bench import backlog, proc
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.clients import client_config, consumer_config, producer_config
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.kafka.topic_writer import TopicWriter
from consumer_fleet.record.topic_recorder import TopicRecorder
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.replay.source import RecordingMessages
from consumer_fleet.replay.to_topic import replay_to_topic
from consumer_fleet.run.progress import TransferProgress
from tests.support.kafka_broker import KafkaBroker

MIN_RATIO = 0.5
_PARTITIONS = 4
_KEEP = {"retention.ms": -1}
_MEMORY_SAMPLES = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """Messages per second of this program and of the bare client, by round."""

    what: str
    ours: Sequence[float]
    beside: str
    theirs: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        return [our / their for our, their in zip(self.ours, self.theirs, strict=True)]

    @property
    def is_met(self) -> bool:
        return median(self.ratios) >= MIN_RATIO

    def __str__(self) -> str:
        return (
            f"{self.what} {median(self.ours):,.0f}/s, {self.beside} {median(self.theirs):,.0f}/s: "
            f"median ratio {median(self.ratios):.2f} "
            f"({', '.join(f'{each:.2f}' for each in self.ratios)})"
        )


def measure(kafka: KafkaBroker, folder: Path, messages: int, runs: int) -> list[Comparison]:
    """Measure in turn, so that other load on the machine affects all alike."""
    source = kafka.create_topic("recorded", _PARTITIONS, _KEEP)
    pairs = list(_mixed(messages))
    config = client_config(kafka.bootstrap_servers, {})
    path = folder / "bench.recording"
    produced, replayed, consumed, recorded = [], [], [], []
    for number in range(runs):
        target = source if number == 0 else kafka.create_topic(f"p{number}", _PARTITIONS, _KEEP)
        produced.append(_rate(messages, partial(_produce, config, target, pairs)))
        consumed.append(_rate(messages, partial(_consume, config, source, messages)))
        recorded.append(_rate(messages, partial(_record, config, source, path)))
        target = kafka.create_topic(f"r{number}", _PARTITIONS, _KEEP)
        replayed.append(_rate(messages, partial(_replay, config, path, target)))
    return [
        Comparison("record", recorded, "consume() alone", consumed),
        Comparison("replay", replayed, "produce() alone", produced),
    ]


def memory(folder: Path, gigabytes: float) -> Iterator[str]:
    """Return the RSS in MiB while a recording of that size is written, and while it is read."""
    values = [record for _, record in _mixed(2000)]
    total = int(gigabytes * 1e9 / (sum(record.size for record in values) / len(values)))
    path = folder / "large.recording"
    header = RecordingHeader("large", _PARTITIONS, 0, {})
    samples: list[int] = []
    with RecordingWriter(path, header, overwrite=True) as writer:
        for start in range(0, total, len(values)):
            writer.write(
                [(start % _PARTITIONS, r._replace(offset=start + n)) for n, r in enumerate(values)]
            )
            if start * _MEMORY_SAMPLES // total >= len(samples):
                samples.append(proc.memory(os.getpid()).rss // 1024)
        writer.complete()
    size = path.stat().st_size
    yield f"written {writer.payload_bytes:,} bytes as {size:,}: RSS in MiB {samples}"
    samples = []
    recording = Recording(path)
    for _ in recording.chunks():
        if recording.position * _MEMORY_SAMPLES // size >= len(samples):
            samples.append(proc.memory(os.getpid()).rss // 1024)
    yield f"read: RSS in MiB {samples}"
    path.unlink()


def _mixed(count: int) -> Iterator[tuple[int, Record]]:
    """Generate the other benchmarks' events with other lengths, around 1.5 KB each, and with
    headers, tombstones and missing keys.
    """
    values = list(backlog.messages(2000))
    values[::20] = [value[:200] for value in values[::20]]
    values[1::20] = [value * 4 for value in values[1::20]]
    for number in range(count):
        value = None if number % 100 == 7 else values[number % len(values)]
        headers = (("id", b"%d" % number), ("none", None)) if number % 10 == 0 else ()
        key = None if number % 7 == 0 else b"%d" % (number % 1000)
        yield number % _PARTITIONS, Record(number, 1_700_000_000_000 + number, key, value, headers)


def _rate(messages: int, run: Callable[[], None]) -> float:
    began = time.monotonic()
    run()
    return messages / (time.monotonic() - began)


def _consume(config: dict[str, object], topic: str, messages: int) -> None:
    consumer = Consumer(consumer_config(config, "bench"))
    consumer.assign([TopicPartition(topic, index, 0) for index in range(_PARTITIONS)])
    seen = 0
    while seen < messages:
        for message in consumer.consume(5000, 0.25):
            error = message.error()
            if error is None:
                seen += 1
            elif error.code() != KafkaError._PARTITION_EOF:
                raise RuntimeError(error.str())
    consumer.close()


def _record(config: dict[str, object], topic: str, path: Path) -> None:
    header = RecordingHeader(topic, _PARTITIONS, 0, {})
    with (
        TopicReader(config, topic) as reader,
        RecordingWriter(path, header, overwrite=True) as writer,
        _quiet() as progress,
    ):
        TopicRecorder(reader, writer).run(lambda: False, progress)
        writer.complete()


def _produce(config: dict[str, object], topic: str, pairs: list[tuple[int, Record]]) -> None:
    producer = Producer({**producer_config(config), "queue.buffering.max.kbytes": 64 * 1024})
    for index, record in pairs:
        headers = list(record.headers) if record.headers else None
        while True:
            try:
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    index,
                    timestamp=record.timestamp_ms or 0,
                    headers=headers,
                )
            except BufferError:
                producer.poll(0.05)
            else:
                break
    producer.flush()


def _replay(config: dict[str, object], path: Path, topic: str) -> None:
    source = RecordingMessages(path, EARLIEST, LATEST)
    with _quiet() as progress:
        replayed = replay_to_topic(
            source.batches(),
            source,
            TopicWriter(config, topic),
            progress,
            keep_partitions=True,
            stop_requested=lambda: False,
        )
    if replayed.failure is not None:
        raise replayed.failure


def _quiet() -> TransferProgress:
    return TransferProgress("bench", None, Console(stderr=True), live=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recordings", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--gigabytes", type=float, default=5.0, help="size of the memory test; 0 skips it"
    )
    given = parser.parse_args()
    found: list[Comparison] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        if given.gigabytes:
            for line in memory(Path(name), given.gigabytes):
                print(line, flush=True)
        if given.runs:
            with closing(KafkaBroker(for_load=True)) as kafka:
                kafka.start()
                found = measure(kafka, Path(name), given.messages, given.runs)
    for comparison in found:
        print(f"{'PASS' if comparison.is_met else 'FAIL'}  {comparison} (at least {MIN_RATIO:g})")
    return 0 if all(comparison.is_met for comparison in found) else 1


if __name__ == "__main__":
    sys.exit(main())
