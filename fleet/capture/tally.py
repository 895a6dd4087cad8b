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


class Count:
    """One series. Any thread may add to it."""

    __slots__ = ("_lock", "_reported", "key", "tags", "total")

    def __init__(self, key: str, tags: Mapping[str, str] | None) -> None:
        self.key = key
        self.tags = tags
        self.total = 0
        self._reported = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """One more."""
        with self._lock:
            self.total += 1

    def take_new(self) -> int:
        """How many were added since the last call."""
        with self._lock:
            new = self.total - self._reported
            self._reported = self.total
        return new


class Tally:
    """Adds up increments: a metrics call per envelope would cost as much as parsing it."""

    def __init__(self, incr: Incr, clock: Callable[[], float]) -> None:
        self._incr = incr
        self._report_due = clock() + _INTERVAL_S
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], Count] = {}

    def count(self, key: str, tags: Mapping[str, str] | None = None) -> Count:
        """The count of one series, to be kept where it is used often."""
        place = (key, tuple(tags.items()) if tags else ())
        return self._counts.setdefault(place, Count(key, tags))

    def report_if_due(self, now: float) -> None:
        """Report if the last time is a second ago."""
        if now >= self._report_due:
            self._report_due = now + _INTERVAL_S
            self.report()

    def report(self) -> None:
        """Hand what was counted since the last time to the metrics."""
        for count in list(self._counts.values()):
            if new := count.take_new():
                self._incr(count.key, tags=count.tags, amount=new)
