"""Replays messages into another topic."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import EXIT_USAGE, ConfigurationError, FleetError
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.topic_writer import TopicWriter
from consumer_fleet.replay.rewrite import Rewriter
from consumer_fleet.replay.source import Pair, Source
from consumer_fleet.run.transfer_progress import TransferProgress

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


# A replayed message keeps its timestamp: with an expiry, old ones would be deleted at once.
_CREATED_WITH = {"retention.ms": "-1"}


class DeadLetterAgain(FleetError):
    """A dead letter on its way into the topic that it is from."""

    exit_code = EXIT_USAGE


def refuse_dead_letters_of(topic: str) -> Callable[[Pair], None]:
    """A check of each message. Raises DeadLetterAgain: as it is, it would be rejected again, and be
    in the dead letter topic twice.
    """

    def check(pair: Pair) -> None:
        partition, record = pair
        found = restore(record.headers) if record.headers else None
        if found is not None and topic in (found.last.topic, found.origin.topic):
            raise DeadLetterAgain(
                f"the message at {partition}/{record.offset} is a dead letter of {topic!r}, which "
                "would reject it again: use `consumer dlq replay`, or `consumer replay --through`. "
                "Say that this is meant with --yes"
            )

    return check


def prepare_target(
    kafka: Mapping[str, Any],
    topic: str,
    source: Source,
    *,
    create: bool,
    keep_partitions: bool,
    same_topic_is_fine: bool,
) -> Callable[[], None]:
    """Gives what makes the topic, if it is missing and is to be made.

    Raises click.UsageError for the source itself, ConfigurationError for a topic that is missing or
    has too few partitions.
    """
    cluster = Cluster(kafka)
    cluster.check_reachable()
    present = cluster.partition_count(topic)
    # A recording of a mock cluster, or of an old broker, does not name its cluster.
    same_cluster = source.cluster_id in (None, cluster.cluster_id)
    if topic == source.topic and same_cluster and not same_topic_is_fine:
        raise click.UsageError(
            f"{topic!r} is where the messages are from: they would be there twice. Say that this "
            "is meant with --yes"
        )
    if not present:
        if not create:
            raise ConfigurationError(
                f"the topic {topic!r} does not exist: create it, or let this command do it with "
                "--create"
            )
        return partial(cluster.create_topic, topic, source.partitions, _CREATED_WITH)
    if keep_partitions and present < source.partitions:
        raise ConfigurationError(
            f"{topic!r} has {present} partition{'' if present == 1 else 's'}, but {source.name} "
            f"has {source.partitions}: use --partition-by key, or a topic with as many"
        )
    return lambda: None
