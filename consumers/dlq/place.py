"""Which dead letter topic is meant, and the group that remembers what of it was replayed."""

from __future__ import annotations

from dataclasses import dataclass

from consumers import registry
from consumers.targets import default_dead_letter_topic, named_topic, taken_for
from fleet.bootstrap.options import Options
from fleet.errors import ConfigurationError

_GROUP_PREFIX = "consumer-fleet-dlq-"


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """``consumer`` is the registry's consumer whose rejected messages they are, where one is
    named: several consumers may share a topic.
    """

    name: str
    consumer: str | None

    @property
    def group(self) -> str:
        """Its committed offsets say up to where the dead letters are replayed."""
        return f"{_GROUP_PREFIX}{self.name}"


def dead_letter_topic(topic: str | None, named: str | None, options: Options) -> DeadLetterTopic:
    """The topic that ``--dlq-topic`` names, or that of ``--topic``, a consumer or a topic's name on
    the brokers; by the rule of ``consumer run``. Raises ConfigurationError where none is named.
    """
    known = [definition.name for definition in registry.CONSUMERS]
    source = topic or options.topic
    if source is not None:
        options = taken_for(source, options)
    if named is None and source == options.topic:
        named = options.dlq_topic
    if named is None:
        if source is None:
            raise ConfigurationError(
                "no dead letter topic is named: give --topic, the consumer whose messages were "
                f"rejected (one of {', '.join(known)}, or a topic's name), or --dlq-topic"
            )
        named = default_dead_letter_topic(named_topic(source, options).physical)
    return DeadLetterTopic(named, source if source in known else None)
