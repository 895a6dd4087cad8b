"""Counts that change with every envelope, handed to the metrics once a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final, Protocol

_INTERVAL_S: Final = 1.0


class Incr(Protocol):
    """The part of ``fleet.metrics.incr`` that capture uses."""

    def __call__(
        self,
        key: str,
        instance: str | None = None,
        tags: Mapping[str, str] | None = None,
        amount: int = 1,
    ) -> None: ...


class Tally:
    """Adds up increments: a call per envelope would cost as much as parsing it. Any thread."""

    def __init__(self, incr: Incr, clock: Callable[[], float]) -> None:
        self._incr = incr
        self._report_due = clock() + _INTERVAL_S
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._lock = threading.Lock()

    def add(self, key: str, tags: Mapping[str, str] | None = None, amount: int = 1) -> None:
        """Count; what was counted reaches the metrics with the next report."""
        place = (key, tuple(tags.items()) if tags else ())
        with self._lock:
            self._counts[place] = self._counts.get(place, 0) + amount

    def report_if_due(self, now: float) -> None:
        """Report if the last time is a second ago."""
        if now >= self._report_due:
            self._report_due = now + _INTERVAL_S
            self.report()

    def report(self) -> None:
        """Hand all counts to the metrics."""
        with self._lock:
            counts, self._counts = self._counts, {}
        for (key, tags), amount in counts.items():
            self._incr(key, tags=dict(tags) or None, amount=amount)
