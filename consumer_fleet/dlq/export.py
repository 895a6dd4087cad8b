"""``consumer dlq export``: dead letters into a recording."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import click

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.dlq.letters import DeadLetterCounts, LetterFilter, LettersTopic
from consumer_fleet.dlq.topic import DeadLetterTopic, replay_position
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter


@dataclass(frozen=True, slots=True)
class ExportRequest:
    chosen: LetterFilter
    output: Path
    force: bool
    as_json: bool


def export(request: ExportRequest, topic: DeadLetterTopic, cluster: ClusterOptions) -> None:
    """Write the chosen dead letters as they are, with their dlq.* headers. Blocks.

    Raises OutputError if the file exists or can't be written.
    """
    replay_position(cluster.kafka, topic)  # explains what to do if there is no such topic
    counts = _write(request, topic, cluster)
    if request.as_json:
        document = {
            "topic": topic.name,
            "file": str(request.output),
            "dead_letters": counts.total,
            "reasons": counts.as_document(),
        }
        click.echo(json.dumps(document))
        return
    reasons = f": {counts}" if counts.total else ""
    click.echo(f"Exported {counts.described} of {topic.name} to {request.output}{reasons}")


def _write(
    request: ExportRequest, topic: DeadLetterTopic, cluster: ClusterOptions
) -> DeadLetterCounts:
    counts = DeadLetterCounts()
    chosen, selection = request.chosen, request.chosen.selection
    with LettersTopic(cluster.kafka, topic.name, start=chosen.start, end=chosen.end) as letters:
        ranges = letters.reader.ranges
        header = RecordingHeader(
            topic=topic.name,
            partitions=len(letters.reader.watermarks),
            recorded_at_ms=int(time.time() * 1000),
            ranges={index: (each.start, each.end) for index, each in ranges.items()},
            filter=str(selection) or None,
            consumer=topic.consumer,
        )
        with RecordingWriter(request.output, header, overwrite=request.force) as writer:
            for letter in letters.letters():
                if selection.takes(letter):
                    counts.add(letter)
                    writer.write([(letter.partition, letter.record)])
            writer.complete()
    return counts
