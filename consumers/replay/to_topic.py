"""Replays messages into another topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import click

from consumers.recording.transfer_progress import TransferProgress
from consumers.replay.rewrite import Rewriter
from consumers.replay.source import Pair, Source
from fleet.errors import FleetError
from fleet.kafka.topic_writer import TopicWriter

# Beyond the producer's own message.timeout.ms, after which it gives a message up.
_FINISH_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Replayed:
    """``acknowledged`` by the brokers, and their bytes; ``failure`` ended the replay before its
    source's end, and ``interrupted`` is one that was asked to.
    """

    acknowledged: int = 0
    payload_bytes: int = 0
    interrupted: bool = False
    failure: FleetError | None = None


def replay_to_topic(
    batches: Iterable[list[Pair]],
    source: Source,
    writer: TopicWriter,
    progress: TransferProgress,
    *,
    keep_partitions: bool,
    stop_requested: Callable[[], bool],
) -> Replayed:
    """Write each message; blocks until the brokers have acknowledged all that was written.

    What is read before an error of the source is written all the same.
    """
    replayed = Replayed()
    try:
        for batch in batches:
            # Not behind the last batch: a replay that is done is not interrupted.
            if stop_requested():
                replayed.interrupted = True
                break
            for partition, record in batch:
                writer.write(partition if keep_partitions else None, record)
            writer.poll()
            # A paced replay reads far ahead of what it sends.
            done = source.done * writer.produced // max(1, source.given)
            progress.show(done, writer.acknowledged, writer.acknowledged_bytes)
    except FleetError as error:
        replayed.failure = error
    try:
        writer.finish(_FINISH_TIMEOUT_S)
    except FleetError as error:
        replayed.failure = error
    replayed.acknowledged = writer.acknowledged
    replayed.payload_bytes = writer.acknowledged_bytes
    return replayed


def summarise(
    source: Source, target: str, replayed: Replayed, rewriter: Rewriter | None, *, as_json: bool
) -> None:
    """Say on stdout what has become of it."""
    unreadable = 0 if rewriter is None else rewriter.unreadable
    without_id = 0 if rewriter is None else rewriter.without_id
    if as_json:
        document = {
            "source": source.name,
            "topic": target,
            "messages": replayed.acknowledged,
            "payload_bytes": replayed.payload_bytes,
            "interrupted": replayed.interrupted,
            "unreadable": unreadable,
            "without_event_id": without_id,
            "complete": not replayed.interrupted and replayed.failure is None,
        }
        click.echo(json.dumps(document))
        return
    ended = "interrupted: " if replayed.interrupted else "failed: " if replayed.failure else ""
    click.echo(
        f"{ended}replayed {replayed.acknowledged:,} messages of {source.name} into {target}, "
        "acknowledged"
    )
    if unreadable:
        click.echo(f"not rewritten, since they can't be parsed: {unreadable:,}")
    if without_id:
        click.echo(f"without a new event id, since their consumer rejects them: {without_id:,}")
