"""A recording that a test makes up, without a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from arroyo.types import Partition, Topic

from fleet.kafka.chunk import Chunk, Record
from fleet.kafka.mock_cluster import MockMessage as Message
from fleet.recording.header import RecordingHeader

__all__ = ["MadeRecording", "Message", "Messages"]

Messages: TypeAlias = Iterable[bytes | Message | None]

# A fixed time: the same messages make the same envelopes, whenever the test runs.
_TIMESTAMP_MS: Final = 1_700_000_000_000
_CHUNK_MESSAGES: Final = 500


class MadeRecording:
    """Has what a recording from a file has: ``header``, ``messages`` and ``chunks``.

    Messages get the offsets 0, 1, 2, … of their partition, which is 0 where they name none.
    """

    def __init__(self, messages: Messages, *, topic: str = "events") -> None:
        by_partition: dict[int, list[Record]] = {}
        for each in messages:
            message = each if isinstance(each, Message) else Message(each)
            records = by_partition.setdefault(message.partition or 0, [])
            records.append(_record(len(records), message))
        self._records = by_partition
        self.header = RecordingHeader(
            topic=topic,
            partitions=max(by_partition, default=0) + 1,
            recorded_at_ms=_TIMESTAMP_MS,
            ranges={index: (0, len(records)) for index, records in self._records.items()},
        )

    def messages(self) -> Iterator[tuple[int, Record]]:
        for index, records in self._records.items():
            for record in records:
                yield index, record

    def chunks(self) -> Iterator[Chunk]:
        for index, records in self._records.items():
            partition = Partition(Topic(self.header.topic), index)
            for start in range(0, len(records), _CHUNK_MESSAGES):
                cut = tuple(records[start : start + _CHUNK_MESSAGES])
                yield Chunk(partition, cut, sum(record.size for record in cut))


def _record(offset: int, message: Message) -> Record:
    timestamp_ms = _TIMESTAMP_MS if message.timestamp_ms is None else message.timestamp_ms
    return Record(offset, timestamp_ms, message.key, message.value, message.headers)
