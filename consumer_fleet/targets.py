"""Which consumer, group and topics of this cluster a name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import ConfigurationError

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import Options
DEAD_LETTER_SUFFIX = "-dlq"


@dataclass(frozen=True, slots=True)
class Target:
    """A group on a topic; ``consumer`` is None where they are no consumer's of the registry."""

    consumer: str | None
    group: str
    topic: str

    @property
    def name(self) -> str:
        return self.consumer or f"{self.group}/{self.topic}"


def taken_for(name: str, options: Options) -> Options:
    """The options as ``consumer run --topic NAME`` has them: what they say of one consumer is said
    of this one, unless they name another.
    """
    return options if options.topic is not None else options.model_copy(update={"topic": name})


def physical_topic(definition: ConsumerDefinition, options: Options) -> str:
    """The topic's name on the brokers: the option ``physical_topic`` where it is this consumer's,
    then what Snuba calls it, then the logical name.
    """
    if options.topic == definition.name and options.physical_topic is not None:
        return options.physical_topic
    return options.snuba_topic_map.get(definition.logical_topic, definition.logical_topic)


class NamedTopic(NamedTuple):
    """``consumer`` is None where nothing says what the topic's messages are."""

    physical: str
    consumer: ConsumerDefinition | None


def named_topic(name: str, options: Options, message_format: str | None = None) -> NamedTopic:
    """``name`` is a consumer's, a logical topic's that the options map to another one, or a
    topic's own.

    ``message_format`` names the consumer where the topic's name does not tell it. Raises
    ConfigurationError for a consumer that does not exist.
    """
    found = consumer_of_topic(name, options)
    if found is not None and name in (found.name, found.logical_topic):
        physical = physical_topic(found, options)
    else:
        physical = options.snuba_topic_map.get(name, name)
    return NamedTopic(physical, found if message_format is None else registry.get(message_format))


def consumer_of_topic(name: str, options: Options) -> ConsumerDefinition | None:
    """The consumer of that name, or that reads the topic of that name on this cluster."""
    for definition in registry.CONSUMERS:
        if name in (definition.name, definition.logical_topic, physical_topic(definition, options)):
            return definition
    return None


def default_dead_letter_topic(topic: str) -> str:
    """What the dead letter topic of a topic is called, unless the option ``dlq_topic`` names it."""
    return f"{topic}{DEAD_LETTER_SUFFIX}"


def group_of(definition: ConsumerDefinition, options: Options) -> str:
    """The group that the consumer runs with, as far as the options say."""
    if options.topic == definition.name and options.group is not None:
        return options.group
    return definition.default_group


def registry_targets(names: tuple[str, ...], options: Options) -> list[Target]:
    """The consumers of these names, all of them where none is given. Raises ConfigurationError
    for one that does not exist.
    """
    chosen = [registry.get(name) for name in names] or registry.CONSUMERS
    if len(names) == 1:
        options = taken_for(names[0], options)
    return [
        Target(each.name, group_of(each, options), physical_topic(each, options)) for each in chosen
    ]


def one_target(name: str | None, group: str | None, options: Options) -> Target:
    """The target of ``--consumer NAME`` (its own group), ``--consumer NAME --group G``, or
    ``--group G --topic T``, T being a consumer's name or else a topic's name on the brokers.

    Raises ConfigurationError where the two do not say which.
    """
    known = {definition.name for definition in registry.CONSUMERS}
    if name is None:
        raise ConfigurationError(
            "no consumer is named: give --consumer NAME, or --group G with --topic T; consumers: "
            f"{', '.join(sorted(known))}"
        )
    if name not in known:
        if group is None:
            raise ConfigurationError(
                f"there is no consumer {name!r}: for a topic that is none's, give --group as well; "
                f"consumers: {', '.join(sorted(known))}"
            )
        return Target(None, group, name)
    (own,) = registry_targets((name,), options)
    return Target(own.consumer, group or own.group, own.topic)
