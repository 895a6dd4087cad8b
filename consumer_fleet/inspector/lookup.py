"""Look up an event's envelope in the inspector's store, in a topic, or in a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeAlias, cast

from arroyo.types import Partition

from consumer_fleet.capture.envelope import Envelope, normalize_event_id
from consumer_fleet.capture.items import event_id_in_payload
from consumer_fleet.codec import Decode
from consumer_fleet.inspector.entry import KafkaPosition, Summary
from consumer_fleet.inspector.executors import SynchronousExecutor, ThreadedExecutor
from consumer_fleet.inspector.feeder import entry_of
from consumer_fleet.inspector.services import (
    Context,
    ServiceBackend,
    ServiceDelegator,
    ServiceInterface,
    note_timings,
)
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record


@dataclass(frozen=True, slots=True)
class Found:
    """``raw`` is an envelope. ``source`` names the backend; ``entry_id`` is set for the store."""

    raw: bytes
    origin: KafkaPosition | None
    source: str
    entry_id: int | None = None


class EventLookup(ServiceInterface):
    """A source in which events can be looked up."""

    interface = ("find",)

    def find(self, event_id: str) -> Found | None:
        """An envelope of that event; None if not found, or if the id is invalid.

        Blocks; a search of a topic is limited in time.
        """
        raise NotImplementedError


# None means "nothing yet": a search ends in time even if a broker is slow.
Records: TypeAlias = Iterable[tuple[Partition, Record] | None]
# Opens the messages to search.
OpenRecords: TypeAlias = Callable[[], Records]


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """A search ends at whichever limit it reaches first."""

    max_messages: int = 1_000_000
    timeout_s: float = 30.0


class RecordsLookup(EventLookup):
    """Reads and decodes messages until the event is found."""

    def __init__(
        self, name: str, open_records: OpenRecords, decode: Decode, limits: SearchLimits
    ) -> None:
        self._name = name
        self._open_records = open_records
        self._decode = decode
        self._limits = limits

    def find(self, event_id: str) -> Found | None:
        """Search all messages. Raises FleetError if the topic or recording can't be read."""
        wanted = normalize_event_id(event_id)
        if wanted is None:
            return None
        records = iter(self._open_records())
        try:
            return self._search(records, wanted)
        finally:
            # A generator holds a client or a file until closed.
            close = getattr(records, "close", None)
            if close is not None:
                close()

    def _search(
        self, records: Iterator[tuple[Partition, Record] | None], wanted: str
    ) -> Found | None:
        for origin, record in self._within_limits(records):
            entry = entry_of(origin.topic, origin.partition, record, self._decode)
            if entry.envelope is not None and _is_event(entry.envelope, wanted):
                return Found(entry.raw, origin, self._name)
        return None

    def _within_limits(
        self, records: Iterator[tuple[Partition, Record] | None]
    ) -> Iterator[tuple[KafkaPosition, Record]]:
        deadline = monotonic() + self._limits.timeout_s
        left = self._limits.max_messages
        for item in records:
            if item is not None:
                partition, record = item
                position = (partition.topic.name, partition.index, record.offset)
                yield KafkaPosition(*position, record.timestamp_ms), record
                left -= 1
            if left <= 0 or monotonic() >= deadline:
                return


def _is_event(envelope: Envelope, event_id: str) -> bool:
    return event_id == (envelope.event_id or event_id_in_payload(envelope))


class StoreLookup(EventLookup):
    """Finds the newest entry of an event."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, event_id: str) -> Found | None:
        for entry in reversed(self._entries(event_id)):
            raw = self._store.raw(entry.id)
            if raw is not None:  # it may have been evicted in the meantime
                return Found(raw, entry.origin, "store", entry.id)
        return None

    def has(self, event_id: str) -> bool:
        return len(self._entries(event_id)) > 0

    def _entries(self, event_id: str) -> Sequence[Summary]:
        wanted = normalize_event_id(event_id)
        return () if wanted is None else self._store.find(wanted)


# One search runs at a time, because each reads a whole topic or file; this many may wait.
_QUEUE_LENGTH = 16


def build_lookup(
    *,
    store: Store | None = None,
    topic: OpenRecords | None = None,
    recording: OpenRecords | None = None,
    decode: Decode | None = None,
    limits: SearchLimits | None = None,
) -> EventLookup:
    """A lookup over the given sources: the store first, then the topic or the recording.

    Raises ValueError for a topic or recording without a codec.
    """
    backends: dict[str, ServiceBackend] = {}
    stored = None if store is None else StoreLookup(store)
    if stored is not None:
        backends["store"] = ServiceBackend(stored, SynchronousExecutor())
    if topic is not None:
        backends["topic"] = _records("topic", topic, decode, limits)
    if recording is not None:
        backends["recording"] = _records("recording", recording, decode, limits)

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> Sequence[str]:
        if stored is not None and stored.has(arguments["event_id"]):
            return ["store"]
        return [name for name in ("topic", "recording", "store") if name in backends][:1]

    return cast(EventLookup, ServiceDelegator(EventLookup, backends, select, note_timings))


def _records(
    name: str, open_records: OpenRecords, decode: Decode | None, limits: SearchLimits | None
) -> ServiceBackend:
    if decode is None:
        raise ValueError(f"a {name} needs a codec")
    lookup = RecordsLookup(name, open_records, decode, limits or SearchLimits())
    return ServiceBackend(lookup, ThreadedExecutor(1, _QUEUE_LENGTH, name=f"lookup-{name}"))
