"""What a replay changes in messages: event ids and times. All else stays."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from consumers.recording.formats import UnreadableMessage, visit
from fleet.capture.envelope import normalize_event_id
from fleet.kafka.chunk import Record

# Members that hold an event's id, or another event's: a feedback names the event it is about.
_ID_MEMBERS: Final = frozenset({"event_id", "associated_event_id"})
# Members that hold a time, in seconds since 1970 or as text.
_TIME_MEMBERS: Final = frozenset(
    {"datetime", "nodestore_insert", "received", "start_time", "start_timestamp", "started",
     "timestamp"}
)  # fmt: skip
# What an application put into its event is its own: a time there may mean anything.
_OF_THE_APPLICATION: Final = frozenset({"extra", "vars", "tags", "request", "data_collection"})
# Seconds since 1970 from 1973 to 5138; other numbers are durations, or in another unit.
_SECONDS: Final = (10**8, 10**11)
_FRACTION: Final = re.compile(r"\.(\d+)")


class Rewriter:
    """Changes a message's payload; a value that is not of the consumer's format stays as it is and
    is counted in ``unreadable``.
    """

    def __init__(self, consumer: str, *, new_event_ids: bool, shift: Shift | None) -> None:
        self._consumer = consumer
        self._visitor = _Visitor(_NewIds() if new_event_ids else None, shift)
        self._shift = shift
        self.unreadable = 0

    def __call__(self, record: Record) -> Record:
        if self._shift is not None:
            record = self._shift.of_record(record)
        if not record.value:
            return record
        try:
            return record._replace(value=visit(self._consumer, record.value, self._visitor))
        except UnreadableMessage:
            self.unreadable += 1
            return record


class Shift:
    """Moves times by one amount: the first message that is seen becomes the present."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_ms: int | None = None

    @property
    def by_ms(self) -> int:
        return self._by_ms or 0

    def of_record(self, record: Record) -> Record:
        """The message with its Kafka timestamp moved. One without has none to move."""
        if record.timestamp_ms is None:
            return record
        if self._by_ms is None:
            self._by_ms = int(self._clock() * 1000) - record.timestamp_ms
        return record._replace(timestamp_ms=record.timestamp_ms + self._by_ms)

    def of_value(self, value: object) -> object:
        """A time in a payload, moved and in its own spelling; what is no time, as it is."""
        if isinstance(value, str):
            return self._of_text(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if not _SECONDS[0] <= value < _SECONDS[1]:
            return value
        moved = value + self.by_ms / 1000
        return int(moved) if isinstance(value, int) else moved

    def _of_text(self, text: str) -> str:
        try:
            moment = datetime.fromisoformat(text)
            moved = moment + timedelta(milliseconds=self.by_ms)
        except (ValueError, OverflowError):
            return text
        if len(text) < len("2026-01-01T00:00"):
            return text  # a date alone, or a number that reads as one
        fraction = _FRACTION.search(text)
        shown = moved.isoformat(timespec="microseconds" if fraction else "seconds")
        if moment.tzinfo is UTC and text.endswith(("Z", "z")):
            shown = shown.removesuffix("+00:00") + "Z"
        return shown.replace("T", text[10], 1)


class _NewIds:
    """The same id becomes the same new one everywhere in this replay, and another in the next."""

    def __init__(self) -> None:
        self._namespace = uuid.uuid4()

    def of_value(self, value: object) -> object:
        event_id = normalize_event_id(value)
        if event_id is None:
            return value
        new = uuid.uuid5(self._namespace, event_id)
        return str(new) if "-" in str(value) else new.hex


class _Visitor:
    """A visitor of ``formats.visit``."""

    def __init__(self, ids: _NewIds | None, shift: Shift | None) -> None:
        self._ids = ids
        self._shift = shift

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        self._walk(members)
        return members

    def document(self, kind: str, document: Any) -> Any:
        self._walk(document)
        return document

    def blob(self, kind: str, content: bytes) -> bytes:
        return content

    def _walk(self, part: object) -> None:
        if isinstance(part, list):
            for each in part:
                self._walk(each)
        elif isinstance(part, dict):
            for name, value in part.items():
                if isinstance(value, dict | list):
                    if name not in _OF_THE_APPLICATION:
                        self._walk(value)
                elif self._ids is not None and name in _ID_MEMBERS:
                    part[name] = self._ids.of_value(value)
                elif self._shift is not None and name in _TIME_MEMBERS:
                    part[name] = self._shift.of_value(value)
