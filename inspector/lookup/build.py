"""Puts the places where events can be found behind one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from fleet.codec import Decode
from fleet.services import (
    Backend,
    Context,
    ServiceDelegator,
    SynchronousExecutor,
    ThreadedExecutor,
    note_timings,
)
from inspector.lookup.interface import EventLookup
from inspector.lookup.records import OpenRecords, RecordsLookup, SearchLimits
from inspector.lookup.stored import EntryStore, StoreLookup

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
