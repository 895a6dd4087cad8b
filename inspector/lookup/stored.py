"""Events in the inspector's store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleet.capture.envelope import normalize_event_id
from inspector.entry import Origin, Summary
from inspector.lookup.interface import EventLookup, Found


class EntryStore(Protocol):
    """What a lookup needs of ``inspector.store.Store``."""

    def find(self, event_id: str) -> Sequence[Summary]:
        """All entries of one event, the oldest first."""

    def raw(self, entry_id: int) -> bytes | None:
        """An entry's envelope; None once it is gone."""


class StoreLookup(EventLookup):
    """By event id only: the store is not indexed by place."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    def find(
        self, event_id: str | None, place: Origin | None = None, source: str | None = None
    ) -> Found | None:
        for entry in reversed(self._entries(event_id)):
            if place is not None and not is_at(entry.origin, place):
                continue
            raw = self._store.raw(entry.id)
            if raw is not None:  # it may have been evicted since
                return Found(raw, entry.origin, "store", entry.id)
        return None

    def has(self, event_id: str | None) -> bool:
        return len(self._entries(event_id)) > 0

    def _entries(self, event_id: str | None) -> Sequence[Summary]:
        wanted = normalize_event_id(event_id)
        return () if wanted is None else self._store.find(wanted)


def is_at(origin: Origin | None, place: Origin) -> bool:
    """Whether both name the same message; its timestamp does not matter."""
    return origin is not None and (
        (origin.topic, origin.partition, origin.offset)
        == (place.topic, place.partition, place.offset)
    )
