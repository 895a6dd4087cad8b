"""Which dead letter topic is meant, and the group that remembers what of it was replayed."""

from __future__ import annotations

from dataclasses import dataclass

from consumers import registry
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
    source = topic or options.topic
    known = {definition.name: definition for definition in registry.CONSUMERS}
    definition = None if source is None else known.get(source)
    consumer = None if definition is None else definition.name
    # What the configuration says of one consumer's topics does not hold for another one.
    is_configured = topic is None or topic == options.topic or options.topic is None
    if named is None and is_configured:
        named = options.dlq_topic
    if named is not None:
        return DeadLetterTopic(named, consumer)
    if source is None:
        raise ConfigurationError(
            "no dead letter topic is named: give --topic, the consumer whose messages were "
            f"rejected (one of {', '.join(known)}, or a topic's name), or --dlq-topic"
        )
    if definition is None:
        return DeadLetterTopic(f"{source}-dlq", None)
    physical = options.physical_topic if is_configured else None
    return DeadLetterTopic(f"{physical or definition.logical_topic}-dlq", consumer)
