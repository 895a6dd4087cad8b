"""A destination's counts: they change with every envelope, and reach the metrics once a second."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

_INTERVAL_S: Final = 1.0


class Incr(Protocol):
    """The part of ``consumer_fleet.metrics.incr`` that capture uses."""

    def __call__(
        self,
        key: str,
        instance: str | None = None,
        tags: Mapping[str, str] | None = None,
        amount: int = 1,
    ) -> None: ...


class Count:
    """One series. Only the loop's driver adds to it."""

    __slots__ = ("_reported", "key", "tags", "total")

    def __init__(self, key: str, tags: Mapping[str, str] | None) -> None:
        self.key = key
        self.tags = tags
        self.total = 0
        self._reported = 0

    def take_new(self) -> int:
        """The number added since the last call."""
        total = self.total
        new, self._reported = total - self._reported, total
        return new


class PeriodicCounts:
    """Add up increments: a metrics call per envelope would cost as much as parsing it."""

    def __init__(self, incr: Incr, clock: Callable[[], float]) -> None:
        self._incr = incr
        self._report_due = clock() + _INTERVAL_S
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], Count] = {}
        self._report_lock = threading.Lock()

    def count(self, key: str, tags: Mapping[str, str] | None = None) -> Count:
        """The count of one series; keep it where it is used often."""
        series = (key, tuple(tags.items()) if tags else ())
        return self._counts.setdefault(series, Count(key, tags))

    def add(self, key: str, tags: Mapping[str, str] | None = None) -> None:
        """Add one to a series that is used rarely."""
        self.count(key, tags).total += 1

    def report_if_due(self, now: float) -> None:
        """Report if a second has passed since the last report."""
        if now >= self._report_due:
            self._report_due = now + _INTERVAL_S
            self.report()

    def report(self) -> None:
        """Hand the increments since the last report to the metrics. Any thread."""
        with self._report_lock:
            for count in list(self._counts.values()):
                if new := count.take_new():
                    self._incr(count.key, tags=count.tags, amount=new)


DestinationState: TypeAlias = Literal["open", "backing_off", "paused", "throttled"]


# From the best to the worst.
_STATES: tuple[DestinationState, ...] = ("open", "throttled", "backing_off", "paused")


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """Counts since the process started; ``pending`` envelopes are held now.

    ``reason`` says, for a person, why the destination is not open; it is empty when it is.
    """

    name: str
    state: DestinationState
    accepted: int
    retried: int
    dropped: int
    pending: int
    reason: str

    def merged_with(self, other: DestinationStatus | None) -> DestinationStatus:
        """Merge with the same destination of another process: add counts, keep the worse state."""
        if other is None:
            return self
        worse = max(other, self, key=lambda status: _STATES.index(status.state))
        return DestinationStatus(
            name=self.name,
            state=worse.state,
            accepted=self.accepted + other.accepted,
            retried=self.retried + other.retried,
            dropped=self.dropped + other.dropped,
            pending=self.pending + other.pending,
            reason=worse.reason,
        )


class Ledger:
    """A destination's counts since the start. Only the loop's driver changes them."""

    def __init__(self, destination: str, incr: Incr, clock: Callable[[], float]) -> None:
        self.retried = 0
        self.dropped = 0
        self.ambiguous = 0
        self.pending = 0
        self.pending_bytes = 0
        self._tags = {"destination": destination}
        self._counts = PeriodicCounts(incr, clock)
        self.requests = self._counts.count("internal.sent_requests", self._tags)
        self.accepted_envelopes = self._counts.count("capture.accepted", self._tags)
        self.report_if_due = self._counts.report_if_due
        self.report = self._counts.report

    @property
    def accepted(self) -> int:
        """Envelopes that the destination accepted."""
        return self.accepted_envelopes.total

    def count_retried(self, cause: str) -> None:
        self.retried += 1
        self._counts.add("capture.retried", {**self._tags, "cause": cause})

    def count_rejected(self, status: int) -> None:
        self._counts.add("capture.rejected", {**self._tags, "status": str(status)})

    def count_dropped(self, reason: str) -> None:
        self.dropped += 1
        self._counts.add("capture.dropped", {**self._tags, "reason": reason})

    def count_ambiguous(self) -> None:
        self.ambiguous += 1
        self._counts.add("capture.ambiguous", self._tags)

    def count_throttled(self) -> None:
        self._counts.add("capture.throttled", self._tags)

    def count_pause(self, status: int) -> None:
        self._counts.add("capture.paused", {**self._tags, "status": str(status)})
