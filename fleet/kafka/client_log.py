"""librdkafka's own log lines, thinned out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from time import monotonic

_INTERVAL_S = 30.0
_NUMBERS = re.compile(r"\d+")


class Thinned(logging.Filter):
    """Lets a line pass once per ``_INTERVAL_S``; lines that differ in numbers only are the same.

    A client whose brokers are away tries to connect many times per second and logs each failure.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        text = _NUMBERS.sub("", record.getMessage())
        passed_at = self._passed_at.get(text)
        if passed_at is not None and now - passed_at < _INTERVAL_S:
            return False
        self._passed_at = {
            known: at for known, at in self._passed_at.items() if now - at < _INTERVAL_S
        }
        self._passed_at[text] = now
        return True


rdkafka_log = logging.getLogger("librdkafka")
rdkafka_log.addFilter(Thinned())
