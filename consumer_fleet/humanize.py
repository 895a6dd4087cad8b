"""Numbers, times and hints for people."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

_BARS = "▁▂▃▄▅▆▇█"
_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 dead letter``, ``1,200 partitions``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The end of an error's sentence about an unknown name: a similar one, if there is one."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f": did you mean {close[0]!r}?" if close else "."


def short_number(number: float) -> str:
    """At most four characters: exact below 1000, then two or three digits and a unit."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            digits = 1 if unit and number < 9.95 else 0
            return f"{number:.{digits}f}{unit}"
        number /= 1000
    return "lots"


def short_duration(seconds: float) -> str:
    """At most five characters, rounded down: ``0s``, ``59s``, ``1.5h``, ``6.9d``, ``365d``."""
    for size, unit in _UNITS:
        if seconds >= size:
            number = int(seconds / size * 10) / 10
            return f"{number:.1f}{unit}" if number < 10 else f"{number:.0f}{unit}"
    return f"{int(seconds)}s"


def moment(timestamp_ms: int | None) -> datetime | None:
    """A message's time in UTC. None if it is missing or outside the calendar: some producers count
    in microseconds.
    """
    if timestamp_ms is None:
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def signal_name(number: int) -> str:
    """``SIGKILL``, or ``signal 34`` where it has no name."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The last ``width`` values as bars from 0 to the largest of them; a blank for an unknown."""
    shown = values[-width:]
    top = max((value for value in shown if value is not None), default=0.0)
    highest = len(_BARS) - 1
    return "".join(
        " " if value is None else _BARS[round(highest * max(0.0, value) / top) if top > 0 else 0]
        for value in shown
    )
