"""``consumer replay --to-topic``: messages into another topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import EXIT_OK, EXIT_USAGE, ConfigurationError, FleetError
from consumer_fleet.humanize import counted
from consumer_fleet.kafka.chunk import Pair
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.topic_writer import TopicWriter
from consumer_fleet.replay.batches import ReplayRequest
from consumer_fleet.replay.rewrite import Rewriter
from consumer_fleet.replay.source import ReplaySource
from consumer_fleet.run.progress import TransferProgress
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.targets import named_topic

# Longer than the producer's own message.timeout.ms, after which it gives a message up.
_FINISH_TIMEOUT_S = 60.0


def run_to_topic(request: ReplayRequest, to_topic: str, cluster: ClusterOptions) -> int:
    """Replay into a topic; returns the exit code. Raises FleetError, click.UsageError.

    1. Everything that can be refused is refused before the topic is created.
    2. The messages are written and acknowledged.
    3. The summary says what became of them, before the error that ended it, if any.
    """
    source = request.open_source(cluster)
    try:
        # 1.
        target = named_topic(to_topic, cluster.options).physical
        make_target = prepare_target(cluster.kafka, target, source, request)
        rewriter = request.rewriter(source)
        check = None if request.yes else refuse_dead_letters_of(target)
        batches = request.batches(source, rewriter, check)
        make_target()
        # 2.
        shutdown = Shutdown(cluster.options.shutdown_timeout)
        with (
            shutdown.signals(),
            TransferProgress.on_stderr(cluster.options, "replay", source.total) as progress,
        ):
            written = replay_to_topic(
                batches,
                source,
                TopicWriter(cluster.kafka, target),
                progress,
                keep_partitions=request.keeps_partitions,
                stop_requested=lambda: shutdown.requested,
            )
    finally:
        source.close()
    # 3.
    _summarise(source, target, written, rewriter, as_json=request.as_json)
    if written.failure is not None:
        raise written.failure
    return (shutdown.signal_code if written.interrupted else None) or EXIT_OK


@dataclass(slots=True)
class Written:
    """Messages that the brokers acknowledged, and their bytes. ``failure`` ended the replay before
    its source's end; ``interrupted`` if it was asked to stop.
    """

    acknowledged: int = 0
    payload_bytes: int = 0
    interrupted: bool = False
    failure: FleetError | None = None


def replay_to_topic(
    batches: Iterable[list[Pair]],
    source: ReplaySource,
    writer: TopicWriter,
    progress: TransferProgress,
    *,
    keep_partitions: bool,
    stop_requested: Callable[[], bool],
) -> Written:
    """Write each message; blocks until the brokers have acknowledged all that was written.

    Messages read before an error of the source are still written.
    """
    written = Written()
    try:
        for batch in batches:
            # Not after the last batch: a replay that is done is not interrupted.
            if stop_requested():
                written.interrupted = True
                break
            for partition, record in batch:
                writer.write(partition if keep_partitions else None, record)
            writer.poll()
            # A paced replay reads far ahead of what it sends.
            done = source.done * writer.produced // max(1, source.given)
            progress.show(done, writer.acknowledged, writer.acknowledged_bytes)
    except FleetError as error:
        written.failure = error
    try:
        writer.finish(_FINISH_TIMEOUT_S)
    except FleetError as error:
        written.failure = error
    written.acknowledged = writer.acknowledged
    written.payload_bytes = writer.acknowledged_bytes
    return written


def _summarise(
    source: ReplaySource, target: str, written: Written, rewriter: Rewriter | None, *, as_json: bool
) -> None:
    """Print what became of the messages."""
    unreadable = 0 if rewriter is None else rewriter.unreadable
    without_id = 0 if rewriter is None else rewriter.without_id
    if as_json:
        document = {
            "source": source.name,
            "topic": target,
            "messages": written.acknowledged,
            "payload_bytes": written.payload_bytes,
            "interrupted": written.interrupted,
            "unreadable": unreadable,
            "without_event_id": without_id,
            "complete": not written.interrupted and written.failure is None,
        }
        click.echo(json.dumps(document))
        return
    ended = "interrupted: " if written.interrupted else "failed: " if written.failure else ""
    click.echo(
        f"{ended}replayed {counted(written.acknowledged, 'message')} of {source.name} into "
        f"{target}, acknowledged"
    )
    if unreadable:
        click.echo(f"not rewritten because they can't be parsed: {unreadable:,}")
    if without_id:
        click.echo(f"no new event id because their consumer rejects them: {without_id:,}")


# A replayed message keeps its timestamp: with an expiry, old ones would be deleted at once.
_CREATED_WITH = {"retention.ms": "-1"}


class DeadLetterAgain(FleetError):
    """A dead letter on its way into the topic that it came from."""

    exit_code = EXIT_USAGE


def refuse_dead_letters_of(topic: str) -> Callable[[Pair], None]:
    """Return a check of each message. It raises DeadLetterAgain for a dead letter of the topic,
    which would be rejected again, and be in the dead-letter topic twice.
    """

    def check(pair: Pair) -> None:
        partition, record = pair
        found = restore(record.headers) if record.headers else None
        if found is not None and topic in (found.last.topic, found.origin.topic):
            raise DeadLetterAgain(
                f"the message at {partition}/{record.offset} is a dead letter of {topic!r} and "
                "would be rejected again: use `consumer dlq replay`, or `consumer replay "
                "--through`; --yes replays it all the same"
            )

    return check


def prepare_target(
    kafka: Mapping[str, Any], topic: str, source: ReplaySource, request: ReplayRequest
) -> Callable[[], None]:
    """Return the function that creates the topic, if that is asked for and needed.

    Raises click.UsageError for the source itself, ConfigurationError for a topic that does not
    exist or has too few partitions.
    """
    cluster = Cluster(kafka)
    cluster.check_reachable()
    present = cluster.partition_count(topic)
    # A recording of a mock cluster, or of an old broker, does not name its cluster.
    same_cluster = source.cluster_id in (None, cluster.cluster_id)
    if topic == source.topic and same_cluster and not request.yes:
        raise click.UsageError(
            f"the messages came from {topic!r}, and would be there twice: this requires "
            "confirmation with --yes"
        )
    if not present:
        if not request.create:
            raise ConfigurationError(
                f"the topic {topic!r} does not exist: create it, or add --create"
            )
        return partial(cluster.create_topic, topic, source.partitions, _CREATED_WITH)
    if request.keeps_partitions and present < source.partitions:
        raise ConfigurationError(
            f"{topic!r} has {counted(present, 'partition')}, but {source.name} has "
            f"{source.partitions}: use --partition-by key, or a topic with as many"
        )
    return lambda: None
