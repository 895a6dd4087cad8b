"""Finds the envelope of one event, wherever it is."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.services import ServiceInterface
from inspector.entry import Origin


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
