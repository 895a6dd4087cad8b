"""Looks up the envelope of an event: in the inspector's store, in a topic, in a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol, TypeAlias, cast

from arroyo.types import Partition

from consumer_fleet.capture.envelope import Envelope, normalize_event_id
from consumer_fleet.capture.items import event_id_in_payload
from consumer_fleet.codec import Decode
from consumer_fleet.inspector.entry import Origin, Summary
from consumer_fleet.inspector.messages import entry_of
from consumer_fleet.inspector.services import (
    Backend,
    Context,
    ServiceDelegator,
    ServiceInterface,
    SynchronousExecutor,
    ThreadedExecutor,
    note_timings,
)
from consumer_fleet.kafka.chunk import Record


@dataclass(frozen=True, slots=True)
class Found:
    """``raw`` is an envelope. ``source`` names the backend; ``entry_id`` is set if the store's."""

    raw: bytes
    origin: Origin | None
    source: str
    entry_id: int | None = None


class EventLookup(ServiceInterface):
    """Where events can be looked up."""

    interface = ("find",)

    def find(self, event_id: str) -> Found | None:
        """An envelope of that event; None if there is none, or if that is no event id.

        Blocks: a topic is searched for the configured time at most.
        """
        raise NotImplementedError


# None stands for "nothing yet": it lets a search end in time where a broker is slow.
Records: TypeAlias = Iterable[tuple[Partition, Record] | None]
# Gives everything that is to be searched.
OpenRecords: TypeAlias = Callable[[], Records]


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """A search ends at the first of them, found or not."""

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
        """Raises the FleetError of a topic or a recording that can't be read."""
        wanted = normalize_event_id(event_id)
        if wanted is None:
            return None
        records = iter(self._open_records())
        try:
            return self._search(records, wanted)
        finally:
            # A generator holds a client or a file until it is closed.
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
    ) -> Iterator[tuple[Origin, Record]]:
        deadline = monotonic() + self._limits.timeout_s
        left = self._limits.max_messages
        for item in records:
            if item is not None:
                partition, record = item
                place = (partition.topic.name, partition.index, record.offset)
                yield Origin(*place, record.timestamp_ms), record
                left -= 1
            if left <= 0 or monotonic() >= deadline:
                return


def _is_event(envelope: Envelope, event_id: str) -> bool:
    return event_id == (envelope.event_id or event_id_in_payload(envelope))


class EntryStore(Protocol):
    """What a lookup needs of ``consumer_fleet.inspector.store.Store``."""

    def find(self, event_id: str) -> Sequence[Summary]:
        """All entries of one event, the oldest first."""

    def raw(self, entry_id: int) -> bytes | None:
        """An entry's envelope; None once it is gone."""


class StoreLookup(EventLookup):
    """The newest entry of an event."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    def find(self, event_id: str) -> Found | None:
        for entry in reversed(self._entries(event_id)):
            raw = self._store.raw(entry.id)
            if raw is not None:  # it may have been evicted since
                return Found(raw, entry.origin, "store", entry.id)
        return None

    def has(self, event_id: str) -> bool:
        return len(self._entries(event_id)) > 0

    def _entries(self, event_id: str) -> Sequence[Summary]:
        wanted = normalize_event_id(event_id)
        return () if wanted is None else self._store.find(wanted)


# One search at a time, and how many may wait: each reads a whole topic or file.
_QUEUE_LENGTH = 16


def build_lookup(
    *,
    store: EntryStore | None = None,
    topic: OpenRecords | None = None,
    recording: OpenRecords | None = None,
    decode: Decode | None = None,
    limits: SearchLimits | None = None,
) -> EventLookup:
    """The lookup over what is given. Raises ValueError for a topic or recording without a codec.

    The store answers for what it has, and the topic, or else the recording, for the rest.
    """
    backends: dict[str, Backend] = {}
    kept = None if store is None else StoreLookup(store)
    if kept is not None:
        backends["store"] = Backend(kept, SynchronousExecutor())
    if topic is not None:
        backends["topic"] = _records("topic", topic, decode, limits)
    if recording is not None:
        backends["recording"] = _records("recording", recording, decode, limits)

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> Sequence[str]:
        if kept is not None and kept.has(arguments["event_id"]):
            return ["store"]
        return [name for name in ("topic", "recording", "store") if name in backends][:1]

    return cast(EventLookup, ServiceDelegator(EventLookup, backends, select, note_timings))


def _records(
    name: str, open_records: OpenRecords, decode: Decode | None, limits: SearchLimits | None
) -> Backend:
    if decode is None:
        raise ValueError(f"a {name} needs a codec")
    lookup = RecordsLookup(name, open_records, decode, limits or SearchLimits())
    return Backend(lookup, ThreadedExecutor(1, _QUEUE_LENGTH, name=f"lookup-{name}"))


__all__ = ["EventLookup", "Found", "build_lookup"]
