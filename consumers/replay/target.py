"""The topic that a replay writes into, checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import sleep
from typing import Any

import click

from consumers.replay.source import Pair, Source
from fleet.dead_letter_headers import restore
from fleet.errors import EXIT_USAGE, ConfigurationError, FleetError
from fleet.kafka.cluster import Cluster

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
    cluster.wait_until_reachable(for_ever=False, wait=sleep, given_up=lambda: False)
    facts = cluster.describe(topic)
    # A recording of a mock cluster, or of an old broker, does not name its cluster.
    same_cluster = source.cluster_id in (None, facts.cluster_id)
    if topic == source.topic and same_cluster and not same_topic_is_fine:
        raise click.UsageError(
            f"{topic!r} is where the messages are from: they would be there twice. Say that this "
            "is meant with --yes"
        )
    if not facts.partitions:
        if not create:
            raise ConfigurationError(
                f"the topic {topic!r} does not exist: create it, or let this command do it with "
                "--create"
            )
        return partial(cluster.create_topic, topic, source.partitions, _CREATED_WITH)
    if keep_partitions and facts.partitions < source.partitions:
        raise ConfigurationError(
            f"{topic!r} has {facts.partitions} partition(s), but {source.name} has "
            f"{source.partitions}: use --partition-by key, or a topic with as many"
        )
    return lambda: None
