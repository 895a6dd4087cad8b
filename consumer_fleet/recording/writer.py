"""Writes a recording block by block: whatever happens, what is written is readable."""

from __future__ import annotations

import errno
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self

import msgpack
import zstandard

from consumer_fleet.errors import OutputError
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import (
    END,
    MAX_BLOCK_BYTES,
    MAX_MESSAGE_BYTES,
    MESSAGES,
    RecordingHeader,
    pack_block,
    pack_header,
    pack_part,
)

# The approximate payload of a block. Larger ones compress little better, and lose more if cut.
_BLOCK_BYTES = 1024 * 1024
_BLOCK_MESSAGES = 10_000
# Blocks that wait for the thread that compresses them.
_QUEUED_BLOCKS = 4
_LEVEL = 1


class RecordingWriter:
    """Writes ``PATH.partial``, and renames it to ``PATH`` once it is complete; a context manager.

    Without ``complete``, the ``.partial`` file stays and is readable to its last complete block;
    one without any block is removed. A thread compresses and writes; ``write`` blocks while that
    is behind. Raises OutputError if the file exists (unless ``overwrite``) or can't be written, at
    the latest from ``complete``.
    """

    def __init__(self, path: Path, header: RecordingHeader, *, overwrite: bool = False) -> None:
        if not path.name:
            raise OutputError(f"{str(path)!r} is not a file name: name the recording")
        self.path = path
        self.partial = path.with_name(path.name + ".partial")
        #: Messages written, by partition, and the bytes of their keys and values.
        self.counts: Counter[int] = Counter()
        self.payload_bytes = 0
        #: Bytes of the file so far, without what is not compressed yet.
        self.file_bytes = 0
        self._overwrite = overwrite
        self._held: list[tuple[int, Record]] = []
        self._held_bytes = 0
        self._blocks_written = 0
        self._is_complete = False
        self._failure: Exception | None = None
        self._blocks: queue.Queue[bytes | None] = queue.Queue(_QUEUED_BLOCKS)
        start = pack_header(header)
        try:
            self._refuse_existing(path)
            self._refuse_existing(self.partial)
            if overwrite:
                # Replace a link of that name, not the file that it points to.
                self.partial.unlink(missing_ok=True)
            self._file = self.partial.open("xb")
        except OSError as error:
            raise self._translated(error) from error
        try:
            self._write_bytes(start)
        except OSError as error:
            self._close()
            raise self._translated(error) from error
        self._thread = threading.Thread(target=self._compress, name="recording", daemon=True)
        self._thread.start()

    def write(self, messages: Iterable[tuple[int, Record]]) -> None:
        """Add (partition, message) pairs, offsets ascending within a partition."""
        pairs = list(messages)
        # As few steps per message as possible: this is what a recording waits for.
        sizes = [len(record.value or b"") + len(record.key or b"") for _, record in pairs]
        start = 0
        for end, size in enumerate(sizes):
            full = len(self._held) + end - start >= _BLOCK_MESSAGES
            if self._held_bytes + size > _BLOCK_BYTES or full:
                self._held += pairs[start:end]
                start = end
                self.flush()
            self._held_bytes += size
        self._held += pairs[start:]
        self.counts.update(map(itemgetter(0), pairs))
        self.payload_bytes += sum(sizes)

    def flush(self) -> None:
        """Make a block of the held messages, so that they are in the file soon."""
        if isinstance(self._failure, OSError):
            raise self._translated(self._failure) from self._failure
        if self._failure is not None:
            raise self._failure
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self._queue(held)

    def sync(self) -> None:
        """Force everything written so far to the disk. Blocks until it is there."""
        self.flush()
        self._blocks.join()
        try:
            if self._failure is not None:
                raise self._failure
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._translated(error) from error

    def complete(self) -> None:
        """Write the rest and the trailer, force it to the disk, and give the file its name."""
        self.flush()
        self._stop()
        try:
            if self._failure is not None:
                raise self._failure
            counts = {str(index): count for index, count in sorted(self.counts.items())}
            self._write_bytes(pack_part(END, bytes(msgpack.packb({"messages": counts}))))
            os.fsync(self._file.fileno())
            self._file.close()
            self._refuse_existing(self.path)
            self.partial.replace(self.path)
            self._is_complete = True
        except OSError as error:
            raise self._translated(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with suppress(OutputError):
                self.flush()
        finally:
            self._stop()
            self._close()

    # -- blocks ---------------------------------------------------------------------------------

    def _queue(self, held: list[tuple[int, Record]]) -> None:
        body = pack_block(held)
        limit = MAX_BLOCK_BYTES if len(held) > 1 else MAX_MESSAGE_BYTES
        if len(body) <= limit:
            self._blocks.put(body)
        elif len(held) > 1:
            # The size does not count headers, which were large.
            half = len(held) // 2
            self._queue(held[:half])
            self._queue(held[half:])
        else:
            partition, record = held[0]
            self._blocks.join()
            raise OutputError(
                f"the message at {partition}/{record.offset} has {len(body):,} bytes, "
                f"more than the limit of {MAX_MESSAGE_BYTES:,}; {self._remains()}"
            )

    def _compress(self) -> None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL)
        while (body := self._blocks.get()) is not None:
            try:
                if self._failure is None:
                    self._write_bytes(pack_part(MESSAGES, compressor.compress(body)))
                    self._blocks_written += 1
            except Exception as error:
                # Raised again by ``flush`` and others: a thread that ended here would block them.
                self._failure = error
            finally:
                self._blocks.task_done()

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    # -- the file -------------------------------------------------------------------------------

    def _write_bytes(self, part: bytes) -> None:
        self._file.write(part)
        # Complete parts at once: the file is readable by others, and after a crash.
        self._file.flush()
        self.file_bytes += len(part)

    def _close(self) -> None:
        """Raises nothing: the caller has raised the error before, or has completed the file."""
        with suppress(OSError):
            self._file.close()
        if not self._blocks_written and not self._is_complete:
            with suppress(OSError):
                self.partial.unlink()

    def _refuse_existing(self, path: Path) -> None:
        if not os.path.lexists(path):
            return
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file and is kept: name another file")
        if not self._overwrite:
            raise OutputError(f"{path} exists: name another file, or replace it with --force")

    def _translated(self, error: OSError) -> OutputError:
        why = "no space left" if error.errno == errno.ENOSPC else error.strerror or str(error)
        return OutputError(f"{self.partial} can't be written: {why}; {self._remains()}")

    def _remains(self) -> str:
        if not self._blocks_written:
            return "nothing was written"
        return f"earlier messages are in {self.partial}"
