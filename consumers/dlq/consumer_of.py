"""Which consumer a dead letter is for."""

from __future__ import annotations

from collections.abc import Iterable

from consumers.targets import consumer_of_topic
from fleet.bootstrap.options import Options
from fleet.errors import ConfigurationError


def consumer_of(topic: str | None, named: str | None, options: Options) -> str | None:
    """The consumer of the topic that a dead letter came from, else the one that was named."""
    found = None if topic is None else consumer_of_topic(topic, options)
    return named if found is None else found.name


def consumers_of(
    topics: Iterable[str | None], named: str | None, options: Options
) -> dict[str, str]:
    """Topic of origin → consumer. Raises ConfigurationError where that is not known for one."""
    found: dict[str, str] = {}
    for topic in topics:
        consumer = consumer_of(topic, named, options)
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
