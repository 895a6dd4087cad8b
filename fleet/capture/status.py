"""What a destination says of itself, in plain data that crosses the worker's pipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

DestinationState: TypeAlias = Literal["open", "backing_off", "paused", "throttled"]


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
