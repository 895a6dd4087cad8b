"""What a destination says of itself, in plain data that crosses the worker's pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

DestinationState: TypeAlias = Literal["open", "backing_off", "paused", "throttled"]


_HOW_CLOSED: tuple[DestinationState, ...] = ("open", "throttled", "backing_off", "paused")


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
        """With the same destination of another process: counts add up, the worse state shows."""
        if other is None:
            return self
        worse = max(other, self, key=lambda status: _HOW_CLOSED.index(status.state))
        return DestinationStatus(
            name=self.name,
            state=worse.state,
            accepted=self.accepted + other.accepted,
            retried=self.retried + other.retried,
            dropped=self.dropped + other.dropped,
            pending=self.pending + other.pending,
            reason=worse.reason,
        )
