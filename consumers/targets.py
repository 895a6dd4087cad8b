"""Which group and which topic of this cluster a consumer's name stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers import registry
from consumers.registry import ConsumerDefinition
from fleet.errors import ConfigurationError

if TYPE_CHECKING:
    from fleet.bootstrap.options import Options


@dataclass(frozen=True, slots=True)
class Target:
    """A group on a topic; ``consumer`` is None where they are no consumer's of the registry."""

    consumer: str | None
    group: str
    topic: str

    @property
    def name(self) -> str:
        return self.consumer or f"{self.group}/{self.topic}"


def physical_topic(definition: ConsumerDefinition, options: Options) -> str:
    """The topic's name on the brokers: the option ``physical_topic`` where it is this consumer's,
    then what Snuba calls it, then the logical name.
    """
    if options.topic == definition.name and options.physical_topic is not None:
        return options.physical_topic
    return options.snuba_topic_map.get(definition.logical_topic, definition.logical_topic)


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
