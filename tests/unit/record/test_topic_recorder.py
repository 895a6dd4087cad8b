"""``--limit`` ends a recording at its last message, whatever was read with it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.record.topic_recorder import TopicRecorder
from consumer_fleet.recording.reader import Recording
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.run.progress import TransferProgress
from tests.support.recordings import HEADER


class KafkaMessage:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __len__(self) -> int:
        return 1

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 + self._offset

    def key(self) -> None: ...

    def headers(self) -> None: ...

    def value(self) -> bytes:
        return b"v"


class Reader:
    """As many messages at a time as are wanted."""

    at_end = False
    done = 0

    def read(self, max_messages: int, timeout_s: float) -> list[Any]:
        first, self.done = self.done, self.done + max_messages
        return [KafkaMessage(offset) for offset in range(first, self.done)]


@pytest.mark.parametrize("limit", [1, 3, 400])
def test_what_lies_behind_the_last_message_is_not_counted_as_left_out(
    tmp_path: Path, limit: int
) -> None:
    looked_at: list[int] = []

    def every_third(_: int, record: Record) -> bool:
        looked_at.append(record.offset)
        return record.offset % 3 == 2

    with RecordingWriter(tmp_path / "r", HEADER) as writer:
        reader = cast(TopicReader, Reader())
        recorder = TopicRecorder(reader, writer, keep=every_third, limit=limit)
        progress = TransferProgress("record", None, Console(file=StringIO()), live=False)
        recorded = recorder.run(lambda: False, progress)
        writer.complete()
    assert recorded.total == limit
    assert recorded.left_out == 2 * limit
    assert looked_at == list(range(3 * limit))
    kept = [record.offset for _, record in Recording(tmp_path / "r").messages()]
    assert kept == list(range(2, 3 * limit, 3))
