"""The consumers that exist: those of this program, and those of other distributions.

Each of this program's has one entry in ``CONSUMERS``. Another distribution adds a consumer with an
entry point in the group ``consumer_fleet.consumers``: its name is the consumer's, and its object a
``ConsumerDefinition``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.humanize import did_you_mean

if TYPE_CHECKING:
    from consumer_fleet.codec import Decode
    from consumer_fleet.consumers.format import MessageFormat

ENTRY_POINT_GROUP: Final = "consumer_fleet.consumers"
GROUP_PREFIX: Final = "consumer-fleet-"
# It is a part of a consumer group's name and of names in Kubernetes.
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

#: What Relay writes for Sentry, or what Sentry writes for Snuba afterwards: the same data twice.
TopicSet: TypeAlias = Literal["ingest", "processed"]


@dataclass(frozen=True, slots=True)
class ConsumerDefinition:
    """One consumer. ``format_path`` is ``module:class`` of its ``MessageFormat``.

    The module is imported at the first use of ``format`` or ``decode``, so that listing consumers
    does not wait for the parsers of all of them. ``topic`` is the logical topic where it is not
    called like the consumer. ``topic_set`` is None for data that is in neither of Sentry's sets.
    """

    name: str
    description: str
    format_path: str
    topic: str | None = None
    topic_set: TopicSet | None = None

    @property
    def logical_topic(self) -> str:
        return self.topic or self.name

    @property
    def default_group(self) -> str:
        return f"{GROUP_PREFIX}{self.name}"

    @property
    def format(self) -> MessageFormat:
        """Everything known of its messages. Raises ConfigurationError if it can't be loaded."""
        return _load_format(self.format_path)

    @property
    def decode(self) -> Decode:
        """A callable that pickles into a worker."""
        return self.format.decode


_FORMATS: Final = "consumer_fleet.consumers"
CONSUMERS: Final = (
    ConsumerDefinition(
        "events",
        "Sentry's event stream for Snuba (JSON): inserted events",
        f"{_FORMATS}.events:StoredEvents",
        topic_set="processed",
    ),
    ConsumerDefinition(
        "transactions",
        "Sentry's transactions for Snuba (JSON)",
        f"{_FORMATS}.transactions:StoredTransactions",
        topic_set="processed",
    ),
    ConsumerDefinition(
        "ingest-events",
        "Relay's processed events for Sentry (MessagePack), with inline attachments",
        f"{_FORMATS}.ingest_events:IngestEvents",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "ingest-transactions",
        "Relay's processed transactions for Sentry (MessagePack)",
        f"{_FORMATS}.ingest_transactions:IngestTransactions",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "ingest-feedback-events",
        "User feedback that Relay writes for Sentry (MessagePack)",
        f"{_FORMATS}.ingest_feedback_events:IngestFeedbackEvents",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "ingest-attachments",
        "Attachments in chunks (MessagePack), made whole, with their events; user reports",
        f"{_FORMATS}.ingest_attachments:IngestAttachments",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "ingest-replay-recordings",
        "Segments of session replays (MessagePack), with their events and videos",
        f"{_FORMATS}.ingest_replay_recordings:IngestReplayRecordings",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "ingest-monitors",
        "Check-ins of cron monitors (MessagePack); late ones are skipped",
        f"{_FORMATS}.ingest_monitors:IngestMonitors",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "profiles",
        "Chunks of continuous profiles (MessagePack); profiles of transactions are skipped",
        f"{_FORMATS}.profiles:Profiles",
        topic_set="ingest",
    ),
    ConsumerDefinition(
        "envelopes",
        "Raw Sentry envelopes, as SDKs send them",
        f"{_FORMATS}.envelopes:RawEnvelopes",
    ),
)
_OWN: Final = {definition.name: definition for definition in CONSUMERS}

#: Topics of Sentry that have no consumer, and the reason.
NOT_CARRIED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "snuba-items": "logs and metrics as protobuf rows, which no endpoint takes",
        "ingest-spans": "spans in a form that no endpoint takes; ingest-transactions carries those "
        "of transactions",
        "ingest-replay-events": "ingest-replay-recordings carries the same events",
        "ingest-metrics": "sums of data that the other topics carry; it would count twice",
        "ingest-performance-metrics": "sums of data that the other topics carry; it would count "
        "twice",
        "ingest-occurrences": "issues that Sentry found; the destination finds its own",
        "generic-events": "issues that Sentry found; the destination finds its own",
        "outcomes": "counts of what Sentry took and dropped; the destination counts its own",
    }
)


@dataclass(frozen=True, slots=True)
class SkippedConsumer:
    """An entry point that is not used. ``problem`` names the distribution and what to do."""

    name: str
    problem: str


def every_consumer() -> Iterator[ConsumerDefinition]:
    """This program's consumers, then those of other distributions, which are loaded only if the
    caller gets to them.
    """
    yield from CONSUMERS
    yield from _installed()[0]


def in_sets(sets: Collection[str]) -> list[str]:
    """The names of the consumers of these sets."""
    return [each.name for each in every_consumer() if each.topic_set in sets] if sets else []


def skipped_consumers() -> tuple[SkippedConsumer, ...]:
    """The entry points that are broken or whose name is taken."""
    return _installed()[1]


def names() -> list[str]:
    """The names of all consumers, without loading any."""
    others = {entry.name for entry in _entries()} - _OWN.keys()
    return [*_OWN, *sorted(others)]


def find(name: str | None) -> ConsumerDefinition | None:
    """The consumer of that name, if there is one."""
    if name is None or name in _OWN:
        return _OWN.get(name or "")
    return next((each for each in _installed()[0] if each.name == name), None)


def get(name: str) -> ConsumerDefinition:
    """The consumer of that name. Raises ConfigurationError, which lists those that exist."""
    definition = find(name)
    if definition is not None:
        return definition
    for skipped in skipped_consumers():
        if skipped.name == name:
            raise ConfigurationError(f"the consumer {name!r} can't be used: {skipped.problem}")
    known = [each.name for each in every_consumer()]
    hint = did_you_mean(name, known, cutoff=0.7)
    raise ConfigurationError(
        f"there is no consumer {name!r}{hint} Known consumers: {', '.join(known)}."
    )


def forget_installed() -> None:
    """Look for other distributions again: for tests that install one."""
    _installed.cache_clear()


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)


@cache
def _installed() -> tuple[tuple[ConsumerDefinition, ...], tuple[SkippedConsumer, ...]]:
    usable: list[ConsumerDefinition] = []
    skipped: list[SkippedConsumer] = []
    for name, group in groupby(_entries(), key=lambda entry: entry.name):
        entries = list(group)
        try:
            usable.append(_load(entries))
        except ConfigurationError as error:
            skipped.append(SkippedConsumer(name, str(error)))
    return tuple(usable), tuple(skipped)


def _load(entries: list[EntryPoint]) -> ConsumerDefinition:
    entry = entries[0]
    origin = " and ".join(sorted(_distribution(each) for each in entries))
    if entry.name in _OWN:
        raise ConfigurationError(f"{origin}: the name is taken by a consumer of this program")
    if len(entries) > 1:
        raise ConfigurationError(f"{origin} both provide it: uninstall one of them")
    if _NAME.fullmatch(entry.name) is None:
        raise ConfigurationError(
            f"{origin}: {entry.name!r} is not a valid name: use up to 40 lower-case letters, "
            "digits and hyphens"
        )
    try:
        definition = entry.load()
    except (Exception, SystemExit) as error:
        # Whatever a module of somebody else raises while it is imported.
        raise ConfigurationError(
            f"{origin}: {entry.value} can't be loaded: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(definition, ConsumerDefinition):
        kind = type(definition).__name__
        raise ConfigurationError(f"{origin}: {entry.value} is a {kind}, not a ConsumerDefinition")
    if definition.name != entry.name:
        raise ConfigurationError(
            f"{origin}: {entry.value} defines {definition.name!r}; give the entry point that name"
        )
    return definition


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else entry.dist.name


def _load_format(path: str) -> MessageFormat:
    # Not cached: a test that restores sys.modules would keep a class that no longer pickles.
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()  # type: ignore[no-any-return]  # checked by its users' types
    except (Exception, SystemExit) as error:
        # Only a module of another distribution can fail here.
        raise ConfigurationError(
            f"the message format {path!r} can't be loaded: {type(error).__name__}: {error}"
        ) from error
