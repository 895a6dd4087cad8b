"""Events in raw messages: those of a topic, or of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from arroyo.types import Partition

from fleet.capture.envelope import Envelope, event_id_in_payload, normalize_event_id
from fleet.codec import Decode
from fleet.kafka.chunk import Record
from inspector.entry import Origin
from inspector.lookup.interface import EventLookup, Found
from inspector.messages import entry_of

# None stands for "nothing yet": it lets a search end in time where a broker is slow.
Records: TypeAlias = Iterable[tuple[Partition, Record] | None]
# Gives everything that is to be searched.
OpenRecords: TypeAlias = Callable[[], Records]


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """A search ends at the first of them, found or not."""

    max_messages: int = 1_000_000
    timeout_s: float = 30.0


class RecordsLookup(EventLookup):
    """Reads and decodes messages until the event is found."""

    def __init__(
        self, name: str, open_records: OpenRecords, decode: Decode, limits: SearchLimits
    ) -> None:
        self._name = name
        self._open_records = open_records
        self._decode = decode
        self._limits = limits

    def find(self, event_id: str) -> Found | None:
        """Raises the FleetError of a topic or a recording that can't be read."""
        wanted = normalize_event_id(event_id)
        if wanted is None:
            return None
        records = iter(self._open_records())
        try:
            return self._search(records, wanted)
        finally:
            # A generator holds a client or a file until it is closed.
            close = getattr(records, "close", None)
            if close is not None:
                close()

    def _search(
        self, records: Iterator[tuple[Partition, Record] | None], wanted: str
    ) -> Found | None:
        for origin, record in self._within_limits(records):
            entry = entry_of(origin.topic, origin.partition, record, self._decode)
            if entry.envelope is not None and _is_event(entry.envelope, wanted):
                return Found(entry.raw, origin, self._name)
        return None

    def _within_limits(
        self, records: Iterator[tuple[Partition, Record] | None]
    ) -> Iterator[tuple[Origin, Record]]:
        deadline = monotonic() + self._limits.timeout_s
        left = self._limits.max_messages
        for item in records:
            if item is not None:
                partition, record = item
                place = (partition.topic.name, partition.index, record.offset)
                yield Origin(*place, record.timestamp_ms), record
                left -= 1
            if left <= 0 or monotonic() >= deadline:
                return


def _is_event(envelope: Envelope, event_id: str) -> bool:
    return event_id == (envelope.event_id or event_id_in_payload(envelope))
