"""Events in the inspector's store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleet.capture.envelope import normalize_event_id
from inspector.entry import Summary
from inspector.lookup.interface import EventLookup, Found


class EntryStore(Protocol):
    """What a lookup needs of ``inspector.store.Store``."""

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
