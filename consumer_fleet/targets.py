"""Resolves a name to a consumer, its group and its topics on this cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from consumer_fleet.bootstrap.option_checks import only_topic
from consumer_fleet.bootstrap.parsing import TOPIC_MAX_CHARS
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import ConfigurationError

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import Options
DEAD_LETTER_SUFFIX = "-dlq"


@dataclass(frozen=True, slots=True)
class Target:
    """A group on a topic; ``consumer`` is None if no known consumer reads it."""

    consumer: str | None
    group: str
    topic: str

    @property
    def name(self) -> str:
        return self.consumer or f"{self.group}/{self.topic}"


def options_for(name: str, options: Options) -> Options:
    """The options as ``consumer run --topic NAME`` has them: settings of a single consumer, such as
    ``group``, apply to this one unless the options name another.
    """
    return options if options.topic else options.model_copy(update={"topic": (name,)})


def physical_topic(definition: ConsumerDefinition, options: Options) -> str:
    """The topic's name on the brokers: the option ``physical_topic`` if it is for this consumer,
    else Snuba's name for it, else the logical name.
    """
    if only_topic(options) == definition.name and options.physical_topic is not None:
        return options.physical_topic
    return options.snuba_topic_map.get(definition.logical_topic, definition.logical_topic)


class NamedTopic(NamedTuple):
    """``consumer`` is None if the format of the topic's messages is unknown."""

    physical: str
    consumer: ConsumerDefinition | None


def named_topic(name: str, options: Options, message_format: str | None = None) -> NamedTopic:
    """Resolve a consumer's name, a logical topic that the options map, or a topic's own name.

    ``message_format`` names the consumer if the topic's name does not tell it. Raises
    ConfigurationError for a consumer that does not exist.
    """
    found = consumer_of_topic(name, options)
    if found is not None and name in (found.name, found.logical_topic):
        physical = physical_topic(found, options)
    else:
        physical = options.snuba_topic_map.get(name, name)
    return NamedTopic(physical, found if message_format is None else registry.get(message_format))


def consumer_of_topic(name: str, options: Options) -> ConsumerDefinition | None:
    """The consumer of that name, or the one that reads the topic of that name on this cluster."""
    for definition in registry.every_consumer():
        if name in (definition.name, definition.logical_topic, physical_topic(definition, options)):
            return definition
    return None


def default_dead_letter_topic(topic: str) -> str:
    """The name of a topic's dead-letter topic, unless the option ``dlq_topic`` names another.

    Raises ConfigurationError where Kafka would not take it.
    """
    name = f"{topic}{DEAD_LETTER_SUFFIX}"
    if len(name) > TOPIC_MAX_CHARS:
        raise ConfigurationError(
            f"the topic's name has {len(topic)} characters, and its dead-letter topic would have "
            f"{len(name)}: Kafka takes {TOPIC_MAX_CHARS} at most. Name a dead-letter topic with "
            "--set dlq_topic=NAME, or use --no-dlq."
        )
    return name


def dead_letter_topic_of(topic: str, options: Options) -> str | None:
    """Where ``consumer run`` puts dead letters of that topic; None with ``no_dlq``."""
    return None if options.no_dlq else options.dlq_topic or default_dead_letter_topic(topic)


def group_of(definition: ConsumerDefinition, options: Options) -> str:
    """The group that the consumer runs with."""
    if only_topic(options) == definition.name and options.group is not None:
        return options.group
    return definition.default_group


def delivered_twice(names: Iterable[str]) -> str | None:
    """The reason why these consumers together deliver the same data twice, if they do."""
    sets: dict[str, list[str]] = {}
    for name in names:
        definition = registry.find(name)
        if definition is not None and definition.topic_set is not None:
            sets.setdefault(definition.topic_set, []).append(name)
    if len(sets) < 2:
        return None
    return (
        f"{', '.join(sets['processed'])}: what Sentry writes after processing what is in "
        f"{', '.join(sets['ingest'])}. Together they deliver everything twice"
    )


def registry_targets(names: tuple[str, ...], options: Options) -> list[Target]:
    """The consumers of these names, or all of them. Raises ConfigurationError for one that does not
    exist.
    """
    chosen = [registry.get(name) for name in names] or registry.every_consumer()
    if len(names) == 1:
        options = options_for(names[0], options)
    return [
        Target(each.name, group_of(each, options), physical_topic(each, options)) for each in chosen
    ]


def one_target(name: str | None, group: str | None, options: Options) -> Target:
    """The target of ``--consumer NAME`` (its own group), ``--consumer NAME --group G``, or
    ``--group G --topic T``, where T is a consumer's name or else a topic's name on the brokers.

    Raises ConfigurationError if they do not identify one.
    """
    if name is None:
        raise ConfigurationError(
            "no consumer is named: give --consumer NAME, or --group G with --topic T; consumers: "
            f"{', '.join(registry.names())}"
        )
    if registry.find(name) is None:
        if group is None:
            raise ConfigurationError(
                f"there is no consumer {name!r}: for a topic without one, give --group as well; "
                f"consumers: {', '.join(registry.names())}"
            )
        return Target(None, group, name)
    (own,) = registry_targets((name,), options)
    return Target(own.consumer, group or own.group, own.topic)
