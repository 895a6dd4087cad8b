"""Messages that are set aside, in memory and on disk."""

from __future__ import annotations

import tempfile

import pytest

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.worker.spool import Spool

RECORDS = [
    Record(7, None, None, b"x" * 90, (("a", None), ("a", b"\xff"), ("b", "text"))),
    Record(8, 1_700_000_000_000, b"key", None, ()),
    Record(9, 0, b"", b"y" * 90, ()),
]


@pytest.mark.parametrize("memory_bytes", [0, 100, 1000])
def test_messages_come_back_as_they_were_put(memory_bytes: int) -> None:
    spool = Spool(10_000, memory_bytes)
    stored = [spool.put(record) for record in RECORDS]
    assert [spool.get(each) for each in stored] == RECORDS
    spool.drop(stored[0])
    again = spool.put(RECORDS[2])
    assert spool.get(again) == RECORDS[2]
    assert spool.get(stored[2]) == RECORDS[2]


def test_the_room_on_disk_is_used_again() -> None:
    spool = Spool(300, memory_bytes=0)
    for _ in range(50):
        stored = spool.put(RECORDS[0])
        assert stored.record is None
        spool.drop(stored)


def test_where_the_disk_is_full_or_missing_messages_stay_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = Spool(10, memory_bytes=0)
    assert full.get(full.put(RECORDS[0])) == RECORDS[0]

    def no_disk() -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_disk)
    missing = Spool(10_000, memory_bytes=0)
    assert missing.get(missing.put(RECORDS[0])) == RECORDS[0]
