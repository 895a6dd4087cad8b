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

    def find(
        self, event_id: str | None, place: Origin | None = None, source: str | None = None
    ) -> Found | None:
        """An envelope of that event, or the one at that place; None if there is none.

        With both, the one at the place, if it is of that event. ``source`` names the backend to
        ask (``store``, ``topic``, ``recording``); without it, the service chooses. Blocks: a topic
        is searched for the configured time at most.
        """
        raise NotImplementedError
