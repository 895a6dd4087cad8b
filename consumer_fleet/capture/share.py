"""The room that one destination may take up in a worker that sends to many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Protocol

from consumer_fleet.capture.options import DestinationOptions

# A destination that has its share of messages and answers none of them for so long stands still.
_STILL_S: Final = 1.0


class Share:
    """How many envelopes a destination may have at a time, and whether it stands still with them.

    Only one that is full is asked, so that it costs nothing while all is well.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = size
        self._clock = clock
        self._answers = -1
        self._answered_at = math.inf

    @classmethod
    def of(cls, options: DestinationOptions, clock: Callable[[], float]) -> Share | None:
        """As much as keeps its connections busy. None if it shares no worker, or holds nothing."""
        if options.shares and options.holds and options.required:
            return cls(2 * options.connections, clock)
        return None

    def is_still(self, answers: int) -> bool:
        """Whether it has answered nothing for a while; ``answers`` grows with each answer."""
        now = self._clock()
        if answers != self._answers:
            self._answers, self._answered_at = answers, now
        return now - self._answered_at >= _STILL_S


class HasRoom(Protocol):
    """A destination, as the worker's window sees it."""

    def room(self) -> int: ...
