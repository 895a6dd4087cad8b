"""The limits that a destination has announced, per data category.

SDKs drop what is limited; this project holds it until the limit ends
(https://develop.sentry.dev/sdk/expected-features/rate-limiting/).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from fleet.capture.categories import KNOWN_CATEGORIES

# The "category" of a limit that names none: it holds for everything.
EVERYTHING: Final = ""
DEFAULT_RETRY_AFTER_S: Final = 60.0
# An announcement beyond this is taken for a mistake and asked for again after a day.
_LONGEST_LIMIT_S: Final = 86_400.0
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")


def parse_rate_limits(header: str) -> dict[str, float]:
    """Seconds per category out of ``X-Sentry-Rate-Limits``; the longest where one is repeated.

    Reads ``seconds:cat;cat:scope:…, seconds:…``. Parts without a valid number are ignored, and so
    are categories that no item here has. A part that names none means EVERYTHING.
    """
    limits: dict[str, float] = {}
    for part in header.split(","):
        fields = part.split(":")
        seconds = _parse_seconds(fields[0])
        if seconds is None:
            continue
        names = [name.strip() for name in fields[1].split(";")] if len(fields) > 1 else []
        named = [name for name in names if name]
        for name in named or [EVERYTHING]:
            if name in KNOWN_CATEGORIES or name == EVERYTHING:
                limits[name] = max(limits.get(name, 0.0), seconds)
    return limits


def parse_retry_after(header: str, wall_time_s: float) -> float | None:
    """Seconds out of ``Retry-After``, which is a number or an HTTP date; None if it is neither."""
    seconds = _parse_seconds(header)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(header.strip())
    except ValueError:
        return None
    return min(max(moment.timestamp() - wall_time_s, 0.0), _LONGEST_LIMIT_S)


def limits_of_answer(
    status: int,
    rate_limits: str | None,
    retry_after: str | None,
    wall_time_s: float,
) -> dict[str, float]:
    """Seconds per category that one answer announces. Any status may carry limits."""
    limits = parse_rate_limits(rate_limits) if rate_limits is not None else {}
    if status != 429 or longest_limit_s(rate_limits) is not None:
        return limits
    seconds = parse_retry_after(retry_after, wall_time_s) if retry_after is not None else None
    return {EVERYTHING: DEFAULT_RETRY_AFTER_S if seconds is None else seconds}


class RateLimits:
    """When each category's limit ends, on an injected monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}

    def update(self, limits: Mapping[str, float]) -> None:
        """Take over announced limits. A shorter one never shortens what was announced before."""
        now = self._clock()
        for category, seconds in limits.items():
            self._ends[category] = max(self._ends.get(category, -math.inf), now + seconds)

    def end_for(self, categories: Collection[str], *, limitable: bool = True) -> float:
        """When data of these categories may go; -inf if it may go now.

        ``limitable`` is False for data that even a limit on everything lets through.
        """
        if not self._ends:
            return -math.inf
        self._forget_ended()
        ends = [self._ends[name] for name in categories if name in self._ends]
        if limitable and EVERYTHING in self._ends:
            ends.append(self._ends[EVERYTHING])
        return max(ends, default=-math.inf)

    @property
    def is_any_set(self) -> bool:
        """False means that `end_for` need not be asked."""
        return bool(self._ends)

    def active(self) -> dict[str, float]:
        """Seconds left per limited category."""
        self._forget_ended()
        now = self._clock()
        return {category: end - now for category, end in self._ends.items()}

    def _forget_ended(self) -> None:
        now = self._clock()
        if any(end <= now for end in self._ends.values()):
            self._ends = {name: end for name, end in self._ends.items() if end > now}


def longest_limit_s(header: str | None) -> float | None:
    """The longest limit in ``X-Sentry-Rate-Limits``, whatever it limits; None if it has none."""
    if header is None:
        return None
    limits = [_parse_seconds(part.split(":")[0]) for part in header.split(",")]
    return max((seconds for seconds in limits if seconds is not None), default=None)


def _parse_seconds(text: str) -> float | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    return min(float(text), _LONGEST_LIMIT_S)
