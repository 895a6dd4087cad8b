"""The topic that a replay writes into, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from consumers.replay.source import Source
from fleet.errors import ConfigurationError
from fleet.kafka.cluster import Cluster

# A replayed message keeps its timestamp: with an expiry, old ones would be deleted at once.
_CREATED_WITH = {"retention.ms": "-1"}


def prepare_target(
    kafka: Mapping[str, Any],
    topic: str,
    source: Source,
    *,
    create: bool,
    keep_partitions: bool,
    same_topic_is_fine: bool,
) -> str:
    """Gives the topic's name, once it is there and may be written to.

    Raises click.UsageError for the source itself, ConfigurationError for a topic that is missing or
    has too few partitions.
    """
    cluster = Cluster(kafka)
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
        cluster.create_topic(topic, source.partitions, _CREATED_WITH)
    elif keep_partitions and facts.partitions < source.partitions:
        raise ConfigurationError(
            f"{topic!r} has {facts.partitions} partition(s), but {source.name} has "
            f"{source.partitions}: use --partition-by key, or a topic with as many"
        )
    return topic
