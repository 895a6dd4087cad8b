"""Gives replayed messages new event ids and new times, and changes nothing else."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from consumer_fleet.capture.envelope import normalize_event_id
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.format import UnreadableMessage
from consumer_fleet.kafka.chunk import Record

#: Members that hold an event's id, or another event's: a feedback names the event that it is about.
#: Replays and profiles have ids of this kind, and a replay's is its envelope's.
ID_MEMBERS: Final = frozenset(
    {"associated_event_id", "error_ids", "event_id", "profile_id", "replay_id"}
)
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

# A number's size tells its unit: each range begins in 1973 and ends in 5138. Smaller numbers are
# durations.
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


class NewIds:
    """New event ids: the same id becomes the same new one everywhere in this replay, and another
    one in the next replay.
    """

    def __init__(self) -> None:
        self._namespace = uuid.uuid4()

    def of_value(self, value: object) -> object:
        """Replace an id, or a list of them; any other value stays."""
        if isinstance(value, list):
            return [self.of_value(each) for each in value]
        event_id = normalize_event_id(value)
        if event_id is None:
            return value
        new = uuid.uuid5(self._namespace, event_id)
        return str(new) if "-" in str(value) else new.hex

    def of_profile(self, profile: object) -> None:
        """Replace the ids of a profile's transactions: event ids in a member of another name."""
        if not isinstance(profile, dict):
            return
        several = profile.get("transactions")
        for each in (profile.get("transaction"), *(several if isinstance(several, list) else ())):
            if isinstance(each, dict) and "id" in each:
                each["id"] = self.of_value(each["id"])


class Shift:
    """Moves all times by the same amount: the message of ``latest_ms``, or else the first one seen,
    gets the present.
    """

    def __init__(self, clock: Callable[[], float], latest_ms: int | None = None) -> None:
        self._clock = clock
        self._latest_ms = latest_ms
        self._by_ms: int | None = None

    @property
    def by_ms(self) -> int:
        return self._by_ms or 0

    def of_record(self, record: Record) -> Record:
        """Move the message's Kafka timestamp, if it has one."""
        if record.timestamp_ms is None:
            return record
        if self._by_ms is None:
            present = record.timestamp_ms if self._latest_ms is None else self._latest_ms
            self._by_ms = int(self._clock() * 1000) - present
        return record._replace(timestamp_ms=record.timestamp_ms + self._by_ms)

    def of_value(self, value: object) -> object:
        """Move a time in a payload and keep its notation; any other value stays."""
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
            return text  # a date alone, or a notation of its program's own
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
    """The number of units in a second, or None if the value is not a time."""
    if value < _FIRST:
        return None
    return next((unit for end, unit in _UNITS if value < end), None)


# An application's own data: a time in it may mean anything.
_APPLICATION_DATA: Final = frozenset({"extra", "vars", "tags", "request", "data_collection"})


class Rewriter:
    """Rewrites a message's payload. A value that does not have the consumer's format stays as it is
    and is counted in ``unreadable``; ``without_id`` counts those that can't be given an event id.
    """

    def __init__(self, consumer: str, *, new_event_ids: bool, shift: Shift | None) -> None:
        self._format = registry.get(consumer).format
        self._visitor = _RewriteVisitor(NewIds() if new_event_ids else None, shift)
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
            value = self._format.visit(record.value, self._visitor)
        except UnreadableMessage:
            self.unreadable += 1
            return record
        if self._new_event_ids and not self._visitor.is_named:
            try:
                value = self._format.with_new_event_id(value)
            except UnreadableMessage:
                self.without_id += 1
        return record._replace(value=value)


class _RewriteVisitor:
    """``is_named``: a frame of the message has an event id."""

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
                    elif name not in _APPLICATION_DATA:
                        self._walk(value)
                elif self._shift is not None and name in TIME_MEMBERS:
                    part[name] = self._shift.of_value(value)

    def _move_attribute(self, attribute: object) -> None:
        if self._shift is not None and isinstance(attribute, dict) and "value" in attribute:
            attribute["value"] = self._shift.of_value(attribute["value"])
