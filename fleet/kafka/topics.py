"""Topics as they are on a cluster, and how one is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from fleet.errors import ConfigurationError, KafkaUnreachable
from fleet.kafka.clients import make_admin_client

_REQUEST_TIMEOUT_S = 15.0


class TopicFacts(NamedTuple):
    """``partitions`` is 0 where there is no such topic."""

    cluster_id: str | None
    partitions: int


def describe_topic(base_config: Mapping[str, Any], topic: str) -> TopicFacts:
    """Blocks on the broker. Raises KafkaUnreachable, ConfigurationError (no access, a bad name)."""
    try:
        metadata = make_admin_client(base_config).list_topics(topic, timeout=_REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise KafkaUnreachable(f"topic {topic!r}: {error.args[0].str()}") from error
    found = metadata.topics[topic]
    if found.error is not None and found.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise ConfigurationError(f"topic {topic!r}: {found.error.str()}")
    return TopicFacts(metadata.cluster_id, len(found.partitions))


def create_topic(
    base_config: Mapping[str, Any], topic: str, partitions: int, config: Mapping[str, str]
) -> None:
    """Block until the topic is made. Raises ConfigurationError where it can't be."""
    request = NewTopic(topic, num_partitions=partitions, config=dict(config))
    # Held until the answer is there: a client that is let go of forgets its requests.
    admin = make_admin_client(base_config)
    answers = admin.create_topics([request], operation_timeout=_REQUEST_TIMEOUT_S)
    try:
        answers[topic].result()
    except KafkaException as error:
        raise ConfigurationError(
            f"topic {topic!r} can't be created: {error.args[0].str()}"
        ) from error
