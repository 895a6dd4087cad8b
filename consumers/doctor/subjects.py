"""Which topics, groups and dead letter topics an examination is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consumers import registry
from consumers.registry import ConsumerDefinition
from consumers.targets import default_dead_letter_topic, group_of, physical_topic
from fleet.bootstrap.options import Options


@dataclass(frozen=True, slots=True)
class Subject:
    """One consumer, with the names that things have on the cluster.

    ``is_wanted``: somebody named it. What a consumer lacks that nobody named is no problem yet.
    """

    name: str
    topic: str
    group: str
    dead_letter_topic: str | None
    is_wanted: bool = True


def subjects_of(options: Options, named: Iterable[str]) -> tuple[Subject, ...]:
    """The consumers that are named, else the one that is configured, else all of the registry.

    Raises ConfigurationError for a name that the registry doesn't have.
    """
    wanted = tuple(dict.fromkeys(named)) or ((options.topic,) if options.topic else ())
    if wanted:
        return tuple(_subject(registry.get(name), options, is_wanted=True) for name in wanted)
    return tuple(_subject(each, options, is_wanted=False) for each in registry.CONSUMERS)


def _subject(definition: ConsumerDefinition, options: Options, *, is_wanted: bool) -> Subject:
    topic = physical_topic(definition, options)
    dead_letter_topic = None
    if not options.no_dlq:
        dead_letter_topic = options.dlq_topic or default_dead_letter_topic(topic)
    return Subject(
        definition.name, topic, group_of(definition, options), dead_letter_topic, is_wanted
    )
