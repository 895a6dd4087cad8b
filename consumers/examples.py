"""Endless example messages of a consumer, for the demonstration and for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

import orjson
from sentry_kafka_schemas import iter_examples

from consumer_fleet.consumers import registry
from consumer_fleet.errors import ConfigurationError

# Of the examples, the large ones and those that carry no event come once in so many messages.
# Otherwise a demonstration would be mostly one 60 KiB event, and mostly filtered.
_RARE_EVERY: Final = 25
_LARGE_BYTES: Final = 8 * 1024


def example_messages(consumer: str) -> Iterator[bytes]:
    """Repeat the consumer's examples, each with a new event id and the present time.

    Raises ConfigurationError for a consumer that does not exist or has no examples.
    """
    message_format = registry.get(consumer).format
    examples: Any = message_format.examples
    if isinstance(examples, str):
        # By path: the package lists directories in whatever order the file system has.
        found = sorted(iter_examples(examples), key=lambda example: str(example.path))
        examples = [example.load() for example in found]
    if not examples:
        raise ConfigurationError(
            f"the consumer {consumer!r} has no example messages for a demonstration: "
            "give --bootstrap-servers and --upstream-dsn"
        )
    common = [each for each in examples if not _is_rare(each)]
    rare = [each for each in examples if _is_rare(each)]
    return (message_format.fresh_example(each) for each in _mixed(common or rare, rare))


def _is_rare(example: Any) -> bool:
    # Sentry's event stream, and everything else that has its form.
    if isinstance(example, list):
        return example[1] != "insert" or len(orjson.dumps(example)) > _LARGE_BYTES
    return False


def _mixed(common: list[Any], rare: list[Any]) -> Iterator[Any]:
    commons, rares = itertools.cycle(common), itertools.cycle(rare)
    for number in itertools.count(1):
        yield next(rares) if rare and number % _RARE_EVERY == 0 else next(commons)
