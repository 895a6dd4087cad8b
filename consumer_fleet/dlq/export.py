"""Dead letters into a file: a recording, which ``consumer replay`` and ``dlq list`` read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumer_fleet.consumers import registry
from consumer_fleet.dlq.letters import DeadLetterTopic, Letter, LettersTopic, Selection, letters_in
from consumer_fleet.dlq.replay_position import Tally, standing
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter


def export(
    kafka: Mapping[str, Any],
    place: DeadLetterTopic,
    selection: Selection,
    path: Path,
    *,
    span: tuple[OffsetSpec, OffsetSpec],
    overwrite: bool,
) -> Tally:
    """Write the chosen dead letters as they are, with their dlq.* headers. Blocks.

    Raises OutputError where the file is there already or can't be written.
    """
    tally = Tally()
    start, end = span
    with LettersTopic(kafka, place.name, start=start, end=end) as topic:
        ranges = topic.reader.ranges
        header = RecordingHeader(
            topic=place.name,
            partitions=len(topic.reader.watermarks),
            recorded_at_ms=int(time.time() * 1000),
            ranges={index: (each.start, each.end) for index, each in ranges.items()},
            filter=str(selection) or None,
            consumer=place.consumer,
        )
        with RecordingWriter(path, header, overwrite=overwrite) as writer:
            for letter in topic.letters():
                if selection.takes(letter):
                    tally.add(letter)
                    writer.write([(letter.partition, letter.record)])
            writer.complete()
    return tally


def find_in_topic(
    kafka: Mapping[str, Any], place: DeadLetterTopic, where: str
) -> tuple[Letter, str, str | None]:
    """The letter at OFFSET or PARTITION/OFFSET, its topic, and the consumer that was named.

    Raises ConfigurationError where there is no message, and says what there is.
    """
    partition, offset = _parse(where)
    stands = standing(kafka, place)
    if partition is None and stands.partitions > 1:
        raise ConfigurationError(
            f"{place.name} has {stands.partitions} partitions: say which, as in 0/{offset}"
        )
    index = partition or 0
    if index not in stands.ends:
        raise ConfigurationError(f"{place.name} has no partition {index}")
    start, end = stands.starts.get(index, 0), stands.ends[index]
    if start <= offset < end:
        within = {index: (offset, offset + 1)}
        exact = (OffsetSpec("offset", offset), OffsetSpec("offset", offset + 1))
        with LettersTopic(kafka, place.name, start=exact[0], end=exact[1], within=within) as topic:
            for letter in topic.letters():
                return letter, place.name, place.consumer
    held = f"it holds offsets {start} to {end - 1}" if end > start else "it is empty"
    raise ConfigurationError(f"{place.name}/{index} has no message at offset {offset}: {held}")


def find_in_file(file: Path, where: str) -> tuple[Letter, str, str | None]:
    """The same in a recording of dead letters. Without a partition, the first of that offset."""
    partition, offset = _parse(where)
    recording = Recording(file)
    for letter in letters_in(recording):
        if letter.record.offset == offset and partition in (None, letter.partition):
            # A file may come from anywhere, and name a consumer that is not here.
            consumer = registry.find(recording.header.consumer)
            return letter, recording.header.topic, consumer.name if consumer else None
    raise ConfigurationError(
        f"{file} has no message {where}; `consumer dlq list --each` lists them"
    )


def _parse(where: str) -> tuple[int | None, int]:
    partition, separator, offset = where.rpartition("/")
    texts = [partition, offset] if separator else [offset]
    # Python itself refuses to read thousands of digits; Kafka's numbers have no more than these.
    if not all(text.isascii() and text.isdigit() and len(text) <= 19 for text in texts):
        raise ConfigurationError(f"{where!r} is no place: expected OFFSET or PARTITION/OFFSET")
    return (int(partition) if separator else None), int(offset)
