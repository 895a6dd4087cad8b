"""The sources of a replay: a recording, or a topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Protocol

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.chunk import Pair, Record
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.targets import named_topic

_READ_MESSAGES = 500
_READ_TIMEOUT_S = 0.05
_TURN_S = 0.05


class ReplaySource(Protocol):
    """``done`` of ``total`` is read: bytes or offsets. An empty batch means: nothing now.

    ``given`` counts the messages of ``batches``. ``candidates`` reads the source once more and
    gives all messages that may be among the first ``limit`` of ``batches``.
    """

    name: str
    topic: str
    partitions: int
    cluster_id: str | None
    consumer: ConsumerDefinition | None

    @property
    def total(self) -> int: ...

    given: int

    @property
    def done(self) -> int: ...

    def batches(self) -> Iterator[list[Pair]]: ...

    def candidates(self, limit: int | None) -> Iterator[list[Pair]]: ...

    def close(self) -> None: ...


class RecordingMessages:
    """The messages of a file, or those between two positions."""

    def __init__(self, path: Path, start: OffsetSpec, end: OffsetSpec) -> None:
        self._recording = Recording(path)
        header = self._recording.header
        self.name = str(path)
        self.topic = header.topic
        self.partitions = header.partitions
        self.cluster_id = header.cluster_id
        self.consumer = registry.find(header.consumer)
        self.total = self._recording.size_bytes
        self.given = 0
        # None where no message needs a check.
        self._starts = None if start == EARLIEST else _is_at_or_after(start)
        self._ends = None if end == LATEST else _is_at_or_after(end)

    @property
    def done(self) -> int:
        return self._recording.position

    def batches(self) -> Iterator[list[Pair]]:
        """Raises RecordingError where the file is cut off or damaged, after what comes before."""
        for batch in self._selected():
            self.given += len(batch)
            yield batch

    def candidates(self, limit: int | None) -> Iterator[list[Pair]]:
        return at_most(limit, self._selected())

    def _selected(self) -> Iterator[list[Pair]]:
        starts, ends = self._starts, self._ends
        turn_at = monotonic() + _TURN_S
        for block in self._recording.blocks():
            if starts is None and ends is None:
                yield block
                continue
            chosen = [
                pair
                for pair in block
                if (starts is None or starts(pair[1])) and not (ends and ends(pair[1]))
            ]
            # An empty batch makes the caller wait before it asks again: not at each block.
            if chosen or monotonic() >= turn_at:
                yield chosen
                turn_at = monotonic() + _TURN_S

    def close(self) -> None:
        """Nothing is held open between batches."""


class TopicMessages:
    """The messages of a range of a topic, read without joining a group."""

    def __init__(
        self, name: str, cluster: ClusterOptions, start: OffsetSpec, end: OffsetSpec
    ) -> None:
        found = named_topic(name, cluster.options)
        self._range = (cluster.kafka, found.physical, start, end)
        self._reader = TopicReader(cluster.kafka, found.physical, start=start, end=end)
        self.name = self.topic = found.physical
        self.partitions = self._reader.partitions
        self.cluster_id = self._reader.cluster_id
        self.consumer = found.consumer
        self.total = self._reader.total
        self.given = 0

    @property
    def done(self) -> int:
        return self._reader.done

    def batches(self) -> Iterator[list[Pair]]:
        for batch in _read(self._reader):
            self.given += len(batch)
            yield batch

    def candidates(self, limit: int | None) -> Iterator[list[Pair]]:
        kafka, topic, start, end = self._range
        ranges = self._reader.ranges
        # Partitions come in another order each time: any of them may have all of the first ones.
        left = {index: span.size if limit is None else limit for index, span in ranges.items()}
        with TopicReader(kafka, topic, start=start, end=end, partitions=ranges) as reader:
            for batch in _read(reader):
                chosen = []
                for index, record in batch:
                    # Messages that arrived in the meantime lie past the ends of the first reading.
                    if left[index] > 0 and record.offset < ranges[index].end:
                        chosen.append((index, record))
                        left[index] -= 1
                yield chosen
                if not any(left[index] for index, span in ranges.items() if span.size):
                    return

    def close(self) -> None:
        self._reader.close()


def at_most(limit: int | None, batches: Iterator[list[Pair]]) -> Iterator[list[Pair]]:
    """Yield the first ``limit`` messages; without a limit, all."""
    left = limit
    for batch in batches:
        chosen = batch if left is None else batch[:left]
        yield chosen
        if left is not None:
            left -= len(chosen)
            if not left:
                return


def _read(reader: TopicReader) -> Iterator[list[Pair]]:
    while not reader.at_end:
        messages = reader.read(_READ_MESSAGES, _READ_TIMEOUT_S)
        yield [(message.partition() or 0, Record.from_kafka(message)) for message in messages]


def _is_at_or_after(spec: OffsetSpec) -> Callable[[Record], bool]:
    number = spec.number
    if spec.kind == "offset":
        return lambda record: record.offset >= number
    if spec.kind == "time":
        # A message without a timestamp does not end a range.
        return lambda record: record.timestamp_ms is not None and record.timestamp_ms >= number
    if spec.kind == "relative":
        raise ConfigurationError(f"{spec} is not a valid position in a recording")
    return lambda _: spec == EARLIEST
