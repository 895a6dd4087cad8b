"""What the program's own SDK lost, as a client report: losses are to be visible upstream."""

from __future__ import annotations

import threading
import time

import orjson

from fleet.capture.envelope import Envelope, build, make_item
from fleet.capture.tally import Incr


class Losses:
    """Adds up by reason and data category. Any thread."""

    def __init__(self, incr: Incr) -> None:
        self._incr = incr
        self._lost: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def add(self, reason: str, category: str, quantity: int = 1) -> None:
        """Count a loss, here and in the metrics."""
        with self._lock:
            place = (reason, category)
            self._lost[place] = self._lost.get(place, 0) + quantity
        tags = {"reason": reason, "category": category}
        self._incr("internal.lost_events", tags=tags, amount=quantity)

    def take_report(self) -> Envelope | None:
        """A report of what was lost since the last one; None if nothing was."""
        with self._lock:
            lost, self._lost = self._lost, {}
        if not lost:
            return None
        discarded = [
            {"reason": reason, "category": category, "quantity": quantity}
            for (reason, category), quantity in lost.items()
        ]
        payload = orjson.dumps({"timestamp": time.time(), "discarded_events": discarded})
        return build(None, [make_item("client_report", payload)])
