"""What a replay changes in messages: event ids and times. All else stays."""

from __future__ import annotations

from typing import Any, Final

from consumers.recording.formats import UnreadableMessage, visit
from consumers.replay.event_ids import ID_MEMBERS, NewIds, add_missing_id
from consumers.replay.times import TIME_ATTRIBUTES, TIME_MEMBERS, Shift
from fleet.capture.envelope import normalize_event_id
from fleet.kafka.chunk import Record

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
