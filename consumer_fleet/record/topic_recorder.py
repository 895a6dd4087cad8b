"""Records a range of a topic to a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TypeAlias

from confluent_kafka import Message as KafkaMessage

from consumer_fleet.kafka.chunk import Pair, Record
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.run.progress import TransferProgress

Keep: TypeAlias = Callable[[int, Record], bool]
Change: TypeAlias = Callable[[Record], Record]

# Few enough to stay in the processor's cache from one step to the next.
_READ_MESSAGES = 500
# Fewer large messages are read at a time.
_READ_BYTES = 8 * 1024 * 1024
_READ_TIMEOUT_S = 0.25
# A slow topic's messages are written after this time, even if the block is far from full.
_FLUSH_INTERVAL_S = 2.0


@dataclass(slots=True)
class Recorded:
    """The content of a recording; ``left_out`` counts the messages that the filter did not want, up
    to the last one recorded.
    """

    messages: Mapping[int, int]
    payload_bytes: int = 0
    first_timestamp_ms: int | None = None
    last_timestamp_ms: int | None = None
    left_out: int = 0

    @property
    def total(self) -> int:
        return sum(self.messages.values())

    def add(self, pairs: list[Pair]) -> None:
        times = [record.timestamp_ms for _, record in pairs if record.timestamp_ms is not None]
        if not times:
            return
        first, last = min(times), max(times)
        if self.first_timestamp_ms is None or first < self.first_timestamp_ms:
            self.first_timestamp_ms = first
        if self.last_timestamp_ms is None or last > self.last_timestamp_ms:
            self.last_timestamp_ms = last


class TopicRecorder:
    """Copies messages from a reader to a writer, until there are no more or it is told to stop."""

    def __init__(
        self,
        reader: TopicReader,
        writer: RecordingWriter,
        *,
        keep: Keep | None = None,
        change: Change | None = None,
        limit: int | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._keep = keep
        self._change = change
        self._left = limit
        self._read_messages = _READ_MESSAGES
        self.recorded = Recorded(messages=writer.counts)

    def run(self, stop_requested: Callable[[], bool], progress: TransferProgress) -> Recorded:
        """Blocks until the end. Raises the errors of the reader and the writer."""
        flush_at = monotonic() + _FLUSH_INTERVAL_S
        while not self._reader.at_end and self._left != 0 and not stop_requested():
            messages = self._reader.read(self._read_messages, _READ_TIMEOUT_S)
            if messages:
                self._write(messages)
            if monotonic() >= flush_at:
                flush_at = monotonic() + _FLUSH_INTERVAL_S
                self._writer.flush()
            progress.show(self._reader.done, self.recorded.total, self.recorded.payload_bytes)
        return self.recorded

    def _write(self, messages: list[KafkaMessage]) -> None:
        from_kafka = Record.from_kafka
        pairs = [(message.partition() or 0, from_kafka(message)) for message in messages]
        mean = sum(map(len, messages)) / len(messages) + 1
        self._read_messages = max(1, min(_READ_MESSAGES, int(_READ_BYTES / mean)))
        if self._keep is not None:
            pairs = list(self._wanted(pairs, self._keep))
        if self._left is not None:
            pairs = pairs[: self._left]
            self._left -= len(pairs)
        if self._change is not None:
            pairs = [(index, self._change(record)) for index, record in pairs]
        self._writer.write(pairs)
        self.recorded.payload_bytes = self._writer.payload_bytes
        self.recorded.add(pairs)

    def _wanted(self, pairs: list[Pair], keep: Keep) -> Iterator[Pair]:
        """At most as many as are still to be recorded; later messages are not looked at."""
        wanted = 0
        for pair in pairs:
            if wanted == self._left:
                return
            if keep(*pair):
                wanted += 1
                yield pair
            else:
                self.recorded.left_out += 1
