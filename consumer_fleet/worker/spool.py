"""Messages that are set aside: a few in memory, the rest in a file on disk."""

from __future__ import annotations

import tempfile
from typing import IO

import msgpack

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.worker.protocol import Regions

_MEMORY_BYTES = 8 * 1024 * 1024


class Stored:
    """One message in the spool. ``size`` are its payload bytes."""

    __slots__ = ("length", "record", "size", "start")

    def __init__(self, size: int) -> None:
        self.size = size
        self.record: Record | None = None
        self.start = self.length = 0


class Spool:
    """Keeps messages; the file has no name, so that nothing of it outlives the process.

    ``disk_bytes`` bounds the file. Where it can't be written, messages stay in memory.
    """

    def __init__(self, disk_bytes: int, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._memory_left = memory_bytes
        self._file: IO[bytes] | None = None
        self._regions = Regions(disk_bytes)

    def put(self, record: Record) -> Stored:
        """Keep one message. Blocks as long as a disk takes."""
        stored = Stored(record.size)
        if record.size > self._memory_left and self._write(stored, record):
            return stored
        stored.record = record
        self._memory_left -= record.size
        return stored

    def _write(self, stored: Stored, record: Record) -> bool:
        data = msgpack.packb(record)
        if not self._regions.fits(len(data)):
            return False
        stored.start, stored.length = self._regions.take(len(data)), len(data)
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            self._file.seek(stored.start)
            self._file.write(data)
            self._file.flush()
        except OSError:
            self._regions.give_back(stored.start, stored.length)
            return False
        return True

    def get(self, stored: Stored) -> Record:
        """Return a message, which stays here."""
        if stored.record is not None:
            return stored.record
        assert self._file is not None  # it was written there
        self._file.seek(stored.start)
        offset, timestamp_ms, key, value, headers = msgpack.unpackb(self._file.read(stored.length))
        pairs = tuple((name, content) for name, content in headers)
        return Record(offset, timestamp_ms, key, value, pairs)

    def drop(self, stored: Stored) -> None:
        """Keep it no longer."""
        if stored.record is not None:
            self._memory_left += stored.size
        else:
            self._regions.give_back(stored.start, stored.length)
