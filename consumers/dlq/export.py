"""Dead letters into a file: a recording, which ``consumer replay`` and ``dlq list`` read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumers.dlq.letters import LettersTopic, Selection
from consumers.dlq.place import DeadLetterTopic
from consumers.dlq.tally import Tally
from fleet.kafka.places import Place
from fleet.recording.header import RecordingHeader
from fleet.recording.writer import RecordingWriter


def export(
    kafka: Mapping[str, Any],
    place: DeadLetterTopic,
    selection: Selection,
    path: Path,
    *,
    span: tuple[Place, Place],
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
