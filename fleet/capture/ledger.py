"""A destination's counts: for its status, and for the metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fleet.capture.tally import Incr, Tally


class Ledger:
    """Counts since the start. The pending counts change in any thread, the rest in the driver."""

    def __init__(self, destination: str, incr: Incr, clock: Callable[[], float]) -> None:
        self.accepted = 0
        self.retried = 0
        self.rejected = 0
        self.dropped = 0
        self.ambiguous = 0
        self.pending = 0
        self.pending_bytes = 0
        self._tags = {"destination": destination}
        self._incr = incr
        self._tally = Tally(incr, clock)
        self._lock = threading.Lock()

    def admit(self, size_bytes: int, budget_bytes: int | None) -> bool:
        """Count an envelope as pending, unless that would exceed the budget; None is no budget."""
        with self._lock:
            if budget_bytes is not None and self.pending_bytes + size_bytes > budget_bytes:
                return False
            self.pending += 1
            self.pending_bytes += size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        """What `admit` counted is done with."""
        with self._lock:
            self.pending -= 1
            self.pending_bytes -= size_bytes

    def count_request(self) -> None:
        self._tally.add("internal.sent_requests", self._tags)

    def count_accepted(self) -> None:
        self.accepted += 1
        self._tally.add("capture.accepted", self._tags)

    def count_retried(self, cause: str) -> None:
        self.retried += 1
        self._tally.add("capture.retried", {**self._tags, "cause": cause})

    def count_rejected(self, status: int) -> None:
        self.rejected += 1
        self._incr("capture.rejected", tags={**self._tags, "status": str(status)})

    def count_dropped(self, reason: str) -> None:
        with self._lock:
            self.dropped += 1
        self._tally.add("capture.dropped", {**self._tags, "reason": reason})

    def count_ambiguous(self) -> None:
        self.ambiguous += 1
        self._incr("capture.ambiguous", tags=self._tags)

    def count_throttled(self) -> None:
        self._tally.add("capture.throttled", self._tags)

    def count_pause(self, status: int) -> None:
        self._incr("capture.paused", tags={**self._tags, "status": str(status)})

    def report_if_due(self, now: float) -> None:
        """Hand the counts to the metrics if the last time is a second ago."""
        self._tally.report_if_due(now)

    def report(self) -> None:
        """Hand the counts to the metrics now."""
        self._tally.report()
