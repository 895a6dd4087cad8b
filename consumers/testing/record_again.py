"""Records a recording's own messages anew, with the filter and the scrubbing of today."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.console import Console

from consumers import registry
from consumers.recording.filter import parse_filter
from consumers.recording.filter_facts import FilterError
from consumers.recording.record import Change, Keep, Recorder
from consumers.recording.scrub import Scrubber
from consumers.recording.transfer_progress import TransferProgress
from fleet.bootstrap.sources import resolve_options
from fleet.errors import RecordingError
from fleet.kafka.configuration import client_config
from fleet.kafka.places import Place
from fleet.kafka.reader import Range, TopicReader
from fleet.recording.reader import Recording
from fleet.recording.writer import RecordingWriter


def configured_kafka(environ: Mapping[str, str]) -> dict[str, Any] | None:
    """The librdkafka settings that the environment or its config file give; None without brokers.

    Raises ConfigurationError.
    """
    options = resolve_options({}, None, environ).options
    return client_config(options.brokers, options.kafka_config) if options.brokers else None


def record_again(recording: Recording, kafka: Mapping[str, Any]) -> None:
    """Replace the file by the same offsets of the same topic. Blocks.

    Raises RecordingError, and leaves the file, where they are gone, the cluster is another one, or
    the file does not say how to filter and scrub them.
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
                recorder = Recorder(reader, writer, keep=keep, change=change)
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
        raise _not_again(recording, "it is scrubbed, and does not say what its messages are")
    try:
        keep = None if header.filter is None else parse_filter(header.filter, consumer)
    except FilterError as error:
        raise _not_again(recording, "its filter is none of consumer record's") from error
    return keep, Scrubber(consumer.name) if header.scrubbed and consumer is not None else None


def _held(recording: Recording) -> dict[int, Range]:
    """Partition → the offsets that the file has, from its first message to its last."""
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
        start=Place("offset", held.start),
        end=Place("offset", held.end),
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
            f"offsets {held.start} to {held.end} of {header.topic}/{index} are not there ({why})",
        )
    return reader


def _not_again(recording: Recording, why: str) -> RecordingError:
    return RecordingError(
        f"{recording.path} can't be recorded again: {why}. Record anew with: consumer record "
        "--force, or unset the brokers to update the expectations alone"
    )
