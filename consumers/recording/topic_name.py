"""Which topic of the cluster a name on the command line means, and whose messages it holds."""

from __future__ import annotations

from typing import NamedTuple

from consumers.registry import CONSUMERS, ConsumerDefinition, get
from fleet.bootstrap.options import Options


class NamedTopic(NamedTuple):
    """``consumer`` is None where nothing says what the topic's messages are."""

    physical: str
    consumer: ConsumerDefinition | None


def named_topic(name: str, options: Options, message_format: str | None = None) -> NamedTopic:
    """``name`` is a topic's own name, or a logical one that the options map to another.

    ``message_format`` names the consumer where the topic's name does not tell it. Raises
    ConfigurationError for a consumer that does not exist.
    """
    physical = options.snuba_topic_map.get(name, name)
    if options.physical_topic is not None and options.topic == name:
        physical = options.physical_topic
    if message_format is not None:
        return NamedTopic(physical, get(message_format))
    logical = {mapped: known for known, mapped in options.snuba_topic_map.items()}
    wanted = logical.get(name, name)
    found = (each for each in CONSUMERS if wanted in (each.name, each.logical_topic))
    return NamedTopic(physical, next(found, None))
