"""The last figures of each consumer, for plots."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from consumer_fleet.status.report import ConsumerStatus, Report


class Point(NamedTuple):
    """One sample. ``at_s`` is seconds since 1970; ``waiting`` and ``rate`` are None if unknown."""

    at_s: float
    waiting: int | None
    rate: float | None


class History:
    """The last ``length`` samples of each group on each topic."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._points: dict[tuple[str, str], deque[Point]] = {}

    def add(self, report: Report) -> None:
        """Note a report. What it does not have is forgotten."""
        before, self._points = self._points, {}
        for status in report.consumers:
            key = _key(status)
            points = self._points[key] = before.get(key) or deque(maxlen=self._length)
            points.append(Point(report.at_s, status.waiting, status.rate))

    def of(self, status: ConsumerStatus) -> Sequence[Point]:
        """The samples of this group on this topic, the oldest first."""
        return tuple(self._points.get(_key(status), ()))


def _key(status: ConsumerStatus) -> tuple[str, str]:
    return status.target.group, status.target.topic
