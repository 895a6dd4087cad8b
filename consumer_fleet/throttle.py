"""How often something is said. Here, because both ``capture`` and ``kafka`` need it."""

from __future__ import annotations

import math
from collections.abc import Callable


class Throttle:
    """Lets each key pass once per interval. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._passed_at: dict[str, float] = {}

    def is_due(self, key: str, interval_s: float) -> bool:
        """Whether the key passes now; it has not within the interval."""
        now = self._clock()
        if now - self._passed_at.get(key, -math.inf) < interval_s:
            return False
        self._passed_at[key] = now
        return True
