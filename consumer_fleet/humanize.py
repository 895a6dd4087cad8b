"""Numbers and times for narrow columns."""

from __future__ import annotations

from datetime import UTC, datetime

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """``1 dead letter``, ``1,200 partitions``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


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
