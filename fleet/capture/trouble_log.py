"""What a destination's trouble looks like in the log: loud at once, then at intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger(__name__)

_INTERVAL_S = 60.0


class TroubleLog:
    """One per destination. Only the redacted DSN gets in here, so no key can get out."""

    def __init__(self, destination: str, redacted_dsn: str, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._dsn = redacted_dsn
        self._clock = clock
        self._last_logged: dict[str, float] = {}
        self._pause: dict[str, object] | None = None
        self._dropped: dict[str, int] = {}

    def paused(self, status: int, answer: str, advice: str) -> None:
        """The destination refused us. Pauses that follow each other at once are one to a reader."""
        self._pause = {"status": status, "answer": answer, "what_to_do": advice}
        if self._is_due("pause"):
            self._log_pause("destination_paused")

    def remind(self) -> None:
        """Say again that the destination is paused, if it is and it is time to."""
        if self._pause is not None and self._is_due("pause"):
            self._log_pause("destination_still_paused")

    def backing_off(self, reason: str) -> None:
        """Too many failures in a row: only probes are sent."""
        if self._is_due("backing_off"):
            log.warning("destination_backing_off", destination=self._destination, reason=reason)

    def resumed(self) -> None:
        """A probe was answered."""
        self._pause = None
        if self._is_due("resumed"):
            log.warning("destination_resumed", destination=self._destination, dsn=self._dsn)

    def throttled(self, limits: Mapping[str, float]) -> None:
        """The destination set limits; ``""`` among the categories stands for everything."""
        if limits and self._is_due("throttled"):
            log.warning(
                "destination_throttled",
                destination=self._destination,
                categories=sorted(name or "everything" for name in limits),
                retry_after_s=max(limits.values()),
            )

    def dropped(self, reason: str) -> None:
        """A destination that is not required lost an envelope."""
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        if self._is_due(f"dropped {reason}"):
            count = self._dropped.pop(reason)
            log.warning(
                "envelopes_dropped", destination=self._destination, reason=reason, count=count
            )

    def _log_pause(self, event: str) -> None:
        assert self._pause is not None  # both callers have just seen to it
        log.error(event, destination=self._destination, dsn=self._dsn, **self._pause)

    def _is_due(self, kind: str) -> bool:
        now = self._clock()
        if now - self._last_logged.get(kind, -math.inf) < _INTERVAL_S:
            return False
        self._last_logged[kind] = now
        return True
