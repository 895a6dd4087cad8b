"""Which consumer a dead letter is for."""

from __future__ import annotations

from collections.abc import Iterable

from consumers import registry
from fleet.errors import ConfigurationError

_BY_TOPIC = {definition.logical_topic: definition.name for definition in registry.CONSUMERS}


def consumer_of(topic: str | None, named: str | None) -> str | None:
    """The consumer of the topic that a dead letter came from, else the one that was named."""
    return _BY_TOPIC.get(topic or "", named)


def consumers_of(topics: Iterable[str | None], named: str | None) -> dict[str, str]:
    """Topic of origin → consumer. Raises ConfigurationError where that is not known for one."""
    found: dict[str, str] = {}
    for topic in topics:
        consumer = consumer_of(topic, named)
        if topic is None:
            raise ConfigurationError(
                "some of them do not say where they came from (no dlq.* headers): name their "
                "consumer with --through, or leave them out with --reason or --origin"
            )
        if consumer is None:
            raise ConfigurationError(
                f"no consumer is known for what came from topic {topic!r}: name it with --through"
            )
        found[topic] = consumer
    return found
