"""A clock that only the test moves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ManualClock:
    """A replacement for ``monotonic`` and ``time``: ``now`` changes only when the test sets it."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now
