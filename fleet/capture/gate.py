"""Whether a destination may be sent to: a breaker for outages, and a pause for refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

GateState: TypeAlias = Literal["open", "backing_off", "paused"]

_FAILURES_TO_BACK_OFF: Final = 5
_FIRST_BACKOFF_S: Final = 0.1
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 30.0


def backoff_s(
    attempt: int, random: Callable[[], float], first_s: float = _FIRST_BACKOFF_S
) -> float:
    """The wait after failure number ``attempt`` (from 0): doubling, capped, and jittered by half.

    ``random`` returns a number from 0 to 1.
    """
    # The exponent is bounded too: 2 ** 2000 is more than a float can be.
    longest: float = min(first_s * 2 ** min(attempt, 20), _LONGEST_BACKOFF_S)
    return longest * (0.5 + 0.5 * random())


class Gate:
    """Open: send freely. Backing off or paused: one probe at a time, each after a longer wait.

    The destination tells it how requests ended. Those that were no probe never lengthen the
    wait: the many that were under way when trouble began all tell of the same trouble.
    """

    def __init__(self, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self.state: GateState = "open"
        self._clock = clock
        self._random = random
        self._failures_in_a_row = 0
        self._probes_failed = 0
        self._probe_due = -math.inf
        self._probe_is_out = False

    def next_start(self) -> float:
        """When a request may start: -inf if now, inf if only after an answer."""
        if self.state == "open":
            return -math.inf
        return math.inf if self._probe_is_out else self._probe_due

    def started(self) -> bool:
        """A request starts. Returns whether it is a probe; hand that to what ended it."""
        self._probe_is_out = self.state != "open"
        return self._probe_is_out

    def answered(self, *, is_probe: bool) -> bool:
        """The server dealt with a request. Returns whether that reopened the gate.

        Only a probe reopens it: other answers belong to requests from before the trouble.
        """
        self._failures_in_a_row = 0
        if not is_probe:
            return False
        self.state = "open"
        self._probe_is_out = False
        return True

    def failed(self, *, is_probe: bool, at_least_s: float = 0.0) -> bool:
        """No answer, or one that means "later". Returns whether that closed the gate."""
        self._failures_in_a_row += 1
        if self.state != "open":
            if is_probe:
                self._schedule_probe(at_least_s)
            return False
        if self._failures_in_a_row < _FAILURES_TO_BACK_OFF:
            return False
        self._close("backing_off", at_least_s)
        return True

    def refused(self, *, is_probe: bool) -> bool:
        """The server refused our DSN or address. Returns whether that paused the destination."""
        if self.state == "paused":
            if is_probe:
                self._schedule_probe(0.0)
            return False
        self._close("paused", 0.0)
        return True

    def _close(self, state: GateState, at_least_s: float) -> None:
        self.state = state
        self._probes_failed = -1
        self._schedule_probe(at_least_s)

    def _schedule_probe(self, at_least_s: float) -> None:
        self._probe_is_out = False
        self._probes_failed += 1
        first_s = _FIRST_PAUSE_S if self.state == "paused" else _FIRST_BACKOFF_S
        wait_s = backoff_s(self._probes_failed, self._random, first_s)
        self._probe_due = self._clock() + max(wait_s, at_least_s)
