"""Looks up the envelope of an event: in the inspector's store, in a topic, in a recording."""

from inspector.lookup.build import build_lookup
from inspector.lookup.interface import EventLookup, Found

__all__ = ["EventLookup", "Found", "build_lookup"]
