"""A destination's counts: for its status, and for the metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fleet.capture.tally import Incr, Tally


class Ledger:
    """Counts since the start. What is pending changes in any thread, the rest in the driver."""

    def __init__(self, destination: str, incr: Incr, clock: Callable[[], float]) -> None:
        self.retried = 0
        self.dropped = 0
        self.ambiguous = 0
        self.pending = 0
        self.pending_bytes = 0
        self._tags = {"destination": destination}
        self._tally = Tally(incr, clock)
        self._requests = self._tally.count("internal.sent_requests", self._tags)
        self._accepted = self._tally.count("capture.accepted", self._tags)
        self._lock = threading.Lock()
        self.count_request = self._requests.add
        self.count_accepted = self._accepted.add

    @property
    def accepted(self) -> int:
        """Envelopes that the destination took."""
        return self._accepted.total

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

    def count_retried(self, cause: str) -> None:
        self.retried += 1
        self._tally.count("capture.retried", {**self._tags, "cause": cause}).add()

    def count_rejected(self, status: int) -> None:
        self._tally.count("capture.rejected", {**self._tags, "status": str(status)}).add()

    def count_dropped(self, reason: str) -> None:
        with self._lock:
            self.dropped += 1
        self._tally.count("capture.dropped", {**self._tags, "reason": reason}).add()

    def count_ambiguous(self) -> None:
        self.ambiguous += 1
        self._tally.count("capture.ambiguous", self._tags).add()

    def count_throttled(self) -> None:
        self._tally.count("capture.throttled", self._tags).add()

    def count_pause(self, status: int) -> None:
        self._tally.count("capture.paused", {**self._tags, "status": str(status)}).add()

    def report_if_due(self, now: float) -> None:
        """Hand the counts to the metrics if the last time is a second ago."""
        self._tally.report_if_due(now)

    def report(self) -> None:
        """Hand the counts to the metrics now."""
        self._tally.report()
