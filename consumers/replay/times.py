"""Times in messages, all moved by one amount."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from fleet.kafka.chunk import Record

#: Members that hold a time, as numbers since 1970 or as text: those of Sentry's events, spans,
#: sessions, replays, profiles, logs, metrics and reports, and of OpenTelemetry's.
TIME_MEMBERS: Final = frozenset(
    {"app_start_time", "boot_time", "date-time", "datetime", "end_time", "end_time_unix_nano",
     "end_timestamp", "end_timestamp_ms", "endTimeUnixNano", "nodestore_insert",
     "observed_time_unix_nano", "observedTimeUnixNano", "received", "replay_start_timestamp",
     "sentry_received_timestamp", "start_time", "start_time_unix_nano", "start_timestamp",
     "start_timestamp_ms", "started", "startTimeUnixNano", "time_unix_nano", "timestamp",
     "timestamp_ms", "timeUnixNano"}
)  # fmt: skip
#: Attributes of logs, spans and metrics that hold one: ``{"value": …, "type": …}``.
TIME_ATTRIBUTES: Final = frozenset(
    {"sentry.end_timestamp_precise", "sentry.observed_timestamp_nanos",
     "sentry.start_timestamp_precise", "sentry.timestamp_precise"}
)  # fmt: skip

# A number's size tells its unit: each begins in 1973 and ends in 5138. Others are durations.
_FIRST: Final = 10**8
_UNITS: Final = tuple((_FIRST * 1000 * unit, unit) for unit in (1, 10**3, 10**6, 10**9))
# Nanoseconds do not fit into a JSON number of every program, so they may be text.
_NANOSECONDS: Final = re.compile(r"\d{18,20}", re.ASCII)
# ISO 8601 with or without separators; the fraction may be finer than Python's.
_TEXT: Final = re.compile(
    r"(\d{4})(-?)(\d\d)\2(\d\d)([Tt ])(\d\d)(:?)(\d\d)(?:\7(\d\d)(?:([.,])(\d{1,9}))?)?"
    r"([Zz]|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


class Shift:
    """Moves times by one amount: the message of ``latest_ms`` becomes the present, or else the
    first one that is seen.
    """

    def __init__(self, clock: Callable[[], float], latest_ms: int | None = None) -> None:
        self._clock = clock
        self._latest_ms = latest_ms
        self._by_ms: int | None = None

    @property
    def by_ms(self) -> int:
        return self._by_ms or 0

    def of_record(self, record: Record) -> Record:
        """The message with its Kafka timestamp moved. One without has none to move."""
        if record.timestamp_ms is None:
            return record
        if self._by_ms is None:
            present = record.timestamp_ms if self._latest_ms is None else self._latest_ms
            self._by_ms = int(self._clock() * 1000) - present
        return record._replace(timestamp_ms=record.timestamp_ms + self._by_ms)

    def of_value(self, value: object) -> object:
        """A time in a payload, moved and in its own spelling; what is no time, as it is."""
        if isinstance(value, str):
            return self._of_text(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        unit = _unit(value)
        if unit is None:
            return value
        if isinstance(value, int):
            return value + self.by_ms * unit // 1000
        return value + self.by_ms * unit / 1000

    def _of_text(self, text: str) -> str:
        if _NANOSECONDS.fullmatch(text):
            return str(self.of_value(int(text)))
        found = _TEXT.fullmatch(text)
        if found is None:
            return text  # a date alone, or what only its program understands
        year, dash, month, day, between, hour, colon, minute, second, point, digits, zone = (
            found.groups()
        )
        nanoseconds = int((digits or "0").ljust(9, "0")) + self.by_ms * 1_000_000
        seconds, nanoseconds = divmod(nanoseconds, 1_000_000_000)
        try:
            moment = datetime(
                int(year), int(month), int(day), int(hour), int(minute), int(second or 0)
            )
            moment += timedelta(seconds=seconds)
        except (ValueError, OverflowError):
            return text
        date, _, clock = moment.isoformat().partition("T")
        shown = date.replace("-", dash) + between
        shown += (clock if second is not None else clock[:5]).replace(":", colon)
        if digits is not None:
            shown += f"{point}{nanoseconds:09d}"[: 1 + len(digits)]
        return shown + (zone or "")


def _unit(value: float) -> int | None:
    """How many of them make a second, if it is a time at all."""
    if value < _FIRST:
        return None
    return next((unit for end, unit in _UNITS if value < end), None)
