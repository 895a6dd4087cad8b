"""What a replay changes in messages: event ids and times. All else stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from consumer_fleet.capture.envelope import normalize_event_id
from consumer_fleet.consumers.event_ids import ID_MEMBERS, NewIds, add_missing_id
from consumer_fleet.consumers.formats import UnreadableMessage, visit
from consumer_fleet.kafka.chunk import Record

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


# What an application put into its event is its own: a time there may mean anything.
_OF_THE_APPLICATION: Final = frozenset({"extra", "vars", "tags", "request", "data_collection"})


class Rewriter:
    """Changes a message's payload. A value that is not of the consumer's format stays as it is and
    is counted in ``unreadable``; ``without_id`` counts those that can't be given an event id.
    """

    def __init__(self, consumer: str, *, new_event_ids: bool, shift: Shift | None) -> None:
        self._consumer = consumer
        self._visitor = _Visitor(NewIds() if new_event_ids else None, shift)
        self._new_event_ids = new_event_ids
        self._shift = shift
        self.unreadable = 0
        self.without_id = 0

    def __call__(self, record: Record) -> Record:
        if self._shift is not None:
            record = self._shift.of_record(record)
        if not record.value:
            return record
        self._visitor.is_named = False
        try:
            value = visit(self._consumer, record.value, self._visitor)
        except UnreadableMessage:
            self.unreadable += 1
            return record
        if self._new_event_ids and not self._visitor.is_named:
            try:
                value = add_missing_id(self._consumer, value)
            except UnreadableMessage:
                self.without_id += 1
        return record._replace(value=value)


class _Visitor:
    """A visitor of ``formats.visit``. ``is_named``: a frame says which event the message is."""

    def __init__(self, ids: NewIds | None, shift: Shift | None) -> None:
        self._ids = ids
        self._shift = shift
        self.is_named = False

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        if normalize_event_id(members.get("event_id")) is not None:
            self.is_named = True
        self._walk(members)
        return members

    def document(self, kind: str, document: Any) -> Any:
        self._walk(document)
        if kind == "profile" and self._ids is not None:
            self._ids.of_profile(document)
        return document

    def blob(self, kind: str, content: bytes) -> bytes:
        return content

    def _walk(self, part: object) -> None:
        if isinstance(part, list):
            for each in part:
                self._walk(each)
        elif isinstance(part, dict):
            for name, value in part.items():
                if self._ids is not None and name in ID_MEMBERS and not isinstance(value, dict):
                    part[name] = self._ids.of_value(value)
                elif isinstance(value, dict | list):
                    if self._shift is not None and name in TIME_ATTRIBUTES:
                        self._move_attribute(value)
                    elif name not in _OF_THE_APPLICATION:
                        self._walk(value)
                elif self._shift is not None and name in TIME_MEMBERS:
                    part[name] = self._shift.of_value(value)

    def _move_attribute(self, attribute: object) -> None:
        if self._shift is not None and isinstance(attribute, dict) and "value" in attribute:
            attribute["value"] = self._shift.of_value(attribute["value"])
