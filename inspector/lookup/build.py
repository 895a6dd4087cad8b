"""Puts the places where events can be found behind one interface."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
from inspector.lookup.records import OpenRecording, ReadTopic, RecordsLookup, SearchLimits
from inspector.lookup.stored import EntryStore, StoreLookup

# One search at a time, and how many may wait: each reads a whole topic or file.
_QUEUE_LENGTH = 16


def build_lookup(
    *,
    store: EntryStore | None = None,
    topic: ReadTopic | None = None,
    recording: OpenRecording | None = None,
    decode: Decode | None = None,
    limits: SearchLimits | None = None,
    also_ask: Collection[str] = (),
) -> EventLookup:
    """The lookup over what is given. Raises ValueError for a topic or recording without a codec.

    A message's place is looked up in the topic, else in the recording, else in the store. Without
    a place the store answers for what it has, and the topic, or else the recording, for the rest.
    ``also_ask`` names backends that are asked in passing where another one answers: their results
    change nothing, but their timings show.
    """
    backends: dict[str, Backend] = {}
    kept = None if store is None else StoreLookup(store)
    if kept is not None:
        backends["store"] = Backend(kept, SynchronousExecutor())
    if topic is not None:
        backends["topic"] = _records("topic", topic, decode, limits)
    if recording is not None:
        opened = recording
        backends["recording"] = _records("recording", lambda _place: opened(), decode, limits)

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        if arguments["source"] is not None:
            return [arguments["source"]]
        order = ["topic", "recording", "store"]
        if arguments["place"] is None and kept is not None and kept.has(arguments["event_id"]):
            order = ["store", "topic", "recording"]
        first, *others = [name for name in order if name in backends] or [""]
        return [first, *(name for name in others if name in also_ask)]

    return cast(EventLookup, ServiceDelegator(EventLookup, backends, select, note_timings))


def _records(
    name: str, read: ReadTopic, decode: Decode | None, limits: SearchLimits | None
) -> Backend:
    if decode is None:
        raise ValueError(f"a {name} needs a codec")
    lookup = RecordsLookup(name, read, decode, limits or SearchLimits())
    return Backend(lookup, ThreadedExecutor(1, _QUEUE_LENGTH, name=f"lookup-{name}"))
