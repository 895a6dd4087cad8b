"""The consumers that exist: one entry each. ``consumer list`` prints them."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import Final, cast

from consumer_fleet.codec import Decode
from consumer_fleet.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ConsumerDefinition:
    """One consumer. ``codec`` is the module with its ``decode``, imported when it is first used."""

    name: str
    logical_topic: str
    description: str
    codec: str

    @property
    def default_group(self) -> str:
        return f"consumer-fleet-{self.name}"

    @property
    def decode(self) -> Decode:
        """The codec's function itself, so that it pickles by reference into a worker."""
        # Listing consumers must not wait for the parsers of all of them.
        return cast(Decode, importlib.import_module(self.codec).decode)


CONSUMERS: Final = (
    ConsumerDefinition(
        name="events",
        logical_topic="events",
        description="Sentry's event stream for Snuba (JSON): inserted events",
        codec="consumer_fleet.consumers.events",
    ),
    ConsumerDefinition(
        name="ingest-events",
        logical_topic="ingest-events",
        description="Relay's processed events for Sentry (MessagePack), with inline attachments",
        codec="consumer_fleet.consumers.ingest_events",
    ),
    ConsumerDefinition(
        name="envelopes",
        logical_topic="envelopes",
        description="Raw Sentry envelopes, as SDKs send them",
        codec="consumer_fleet.consumers.envelopes",
    ),
)
_BY_NAME: Final = {definition.name: definition for definition in CONSUMERS}


def get(name: str) -> ConsumerDefinition:
    """The consumer of that name. Raises ConfigurationError, which lists those that exist."""
    definition = _BY_NAME.get(name)
    if definition is None:
        close = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.7)
        hint = f": did you mean {close[0]!r}?" if close else "."
        known = ", ".join(_BY_NAME)
        raise ConfigurationError(f"there is no consumer {name!r}{hint} Known consumers: {known}.")
    return definition
