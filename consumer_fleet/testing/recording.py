"""Recordings in tests: made by the test, opened, or recorded again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from arroyo.types import Topic
from rich.console import Console

from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.consumers import registry
from consumer_fleet.errors import RecordingError
from consumer_fleet.kafka.chunk import Chunk, Pair, Record
from consumer_fleet.kafka.clients import client_config
from consumer_fleet.kafka.mock_cluster import MockMessage as Message
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.kafka.reader import Range, TopicReader
from consumer_fleet.record.filter import LANGUAGE, FilterError, MessageFilter
from consumer_fleet.record.scrub import Scrubber
from consumer_fleet.record.topic_recorder import Change, Keep, TopicRecorder
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import Recording, chunks_of
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.run.progress import TransferProgress
from consumer_fleet.testing.expectation import ExpectationFiles

__all__ = ["MadeRecording", "Message", "Messages"]

Messages: TypeAlias = Iterable[bytes | Message | None]

# A fixed time: the same messages make the same envelopes in every run.
_TIMESTAMP_MS: Final = 1_700_000_000_000


class MadeRecording:
    """A recording without a file, with the same ``header``, ``messages`` and ``chunks``.

    Messages get the offsets 0, 1, 2, … of their partition, which is 0 if they name none.
    """

    def __init__(self, messages: Messages, *, topic: str = "events") -> None:
        by_partition: dict[int, list[Record]] = {}
        for each in messages:
            message = each if isinstance(each, Message) else Message(each)
            records = by_partition.setdefault(message.partition or 0, [])
            records.append(_record(len(records), message))
        self._records = by_partition
        self.header = RecordingHeader(
            topic=topic,
            partitions=max(by_partition, default=0) + 1,
            recorded_at_ms=_TIMESTAMP_MS,
            ranges={index: (0, len(records)) for index, records in self._records.items()},
        )

    def messages(self) -> Iterator[Pair]:
        for index, records in self._records.items():
            for record in records:
                yield index, record

    def chunks(self) -> Iterator[Chunk]:
        yield from chunks_of(Topic(self.header.topic), self.messages())


def _record(offset: int, message: Message) -> Record:
    timestamp_ms = _TIMESTAMP_MS if message.timestamp_ms is None else message.timestamp_ms
    return Record(offset, timestamp_ms, message.key, message.value, message.headers)


_SUFFIX: Final = ".recording"


def open_recording(folder: Path, name: str | Path, files: ExpectationFiles) -> Recording:
    """Open ``name`` in ``folder``, with or without its ``.recording``; a path may be absolute.

    A run that updates files records it again first, if brokers are configured. Raises
    RecordingError if it does not exist, or its header is damaged.
    """
    exact = folder / name
    for path in (exact, exact.with_name(exact.name + _SUFFIX)):
        if path.is_file():
            return _updated(path, files) if files.update else Recording(path)
    present = sorted(each.name for each in folder.glob(f"*{_SUFFIX}"))
    there = f"there are {', '.join(present)}" if present else "the folder has none"
    raise RecordingError(
        f"no recording {str(name)!r} in {folder}: {there}. Make one with: consumer record"
    )


def _updated(path: Path, files: ExpectationFiles) -> Recording:
    recording = Recording(path)
    kafka = configured_kafka(os.environ)
    if kafka is None or path in files.recorded:
        return recording
    record_again(recording, kafka)
    files.recorded.add(path)
    files.written.append(path)
    return Recording(path)


def configured_kafka(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the configured librdkafka settings; None without brokers.

    Raises ConfigurationError.
    """
    options = resolve_options(OptionsRequest(), environ).options
    return client_config(options.brokers, options.kafka_config) if options.brokers else None


def record_again(recording: Recording, kafka: Mapping[str, Any]) -> None:
    """Replace the file by the same offsets of the same topic. Blocks.

    Raises RecordingError, and leaves the file, if they are gone, the cluster is another one, or the
    file does not say how to filter and scrub them.
    """
    header = recording.header
    keep, change = _selection(recording)
    now = replace(header, recorded_at_ms=int(time.time() * 1000))
    ranges = _held(recording)
    readers = {}
    try:
        for index, held in ranges.items():
            readers[index] = _open(recording, kafka, index, held)
        with RecordingWriter(recording.path, now, overwrite=True) as writer:
            for reader in readers.values():
                recorder = TopicRecorder(reader, writer, keep=keep, change=change)
                with TransferProgress("record", reader.total, Console(), live=False) as progress:
                    recorder.run(lambda: False, progress)
            writer.complete()
    finally:
        for reader in readers.values():
            reader.close()


def _selection(recording: Recording) -> tuple[Keep | None, Change | None]:
    header = recording.header
    consumer = None if header.consumer is None else registry.get(header.consumer)
    if header.scrubbed and consumer is None:
        raise _not_again(recording, "it is scrubbed, and its message format is unknown")
    if header.filter is not None and header.filter_language != LANGUAGE:
        raise _not_again(recording, "its filter is not a JMESPath expression of consumer record")
    try:
        keep = None if header.filter is None else MessageFilter(header.filter, consumer)
    except FilterError as error:
        raise _not_again(recording, "its filter is not valid for consumer record") from error
    return keep, Scrubber(consumer.name) if header.scrubbed and consumer is not None else None


def _held(recording: Recording) -> dict[int, Range]:
    """Return the offsets in the file per partition, from the first message to the last."""
    held: dict[int, Range] = {}
    for index, record in recording.messages():
        start = held[index].start if index in held else record.offset
        held[index] = Range(start, record.offset + 1)
    return held


def _open(recording: Recording, kafka: Mapping[str, Any], index: int, held: Range) -> TopicReader:
    header = recording.header
    reader = TopicReader(
        kafka,
        header.topic,
        start=OffsetSpec("offset", held.start),
        end=OffsetSpec("offset", held.end),
        partitions=[index],
    )
    is_other = None not in (header.cluster_id, reader.cluster_id) and (
        header.cluster_id != reader.cluster_id
    )
    if is_other or reader.ranges[index] != held:
        reader.close()
        why = "this is another cluster" if is_other else "retention has passed them"
        raise _not_again(
            recording,
            f"offsets {held.start} to {held.end} of {header.topic}/{index} are gone ({why})",
        )
    return reader


def _not_again(recording: Recording, why: str) -> RecordingError:
    return RecordingError(
        f"{recording.path} can't be recorded again: {why}. Record it with: consumer record "
        "--force, or unset the brokers to update the expectations alone"
    )
