"""The messages of unfinished assemblies on disk, one file each, in a directory of one run.

A worker writes a message's file and reads the pieces of a blob; the parent reads messages and
removes files. A worker's successor finds what it has written. The directory goes with its run; one
that a killed run has left is removed by the next.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

import structlog

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Fragment, Incomplete, Skipped
from consumer_fleet.errors import OutputError
from consumer_fleet.metrics import incr
from consumer_fleet.worker.assemblies import Piece, Position
from consumer_fleet.worker.protocol import Parked, ParkedFragment, ParkedWhole, Task

log = structlog.get_logger(__name__)

_PREFIX: Final = "consumer-fleet-assemblies-"
_BLOCK_BYTES: Final = 4096
# Smaller blobs are read into memory; a larger one is mapped, and the kernel may drop its pages.
_MAPPED_BYTES: Final = 1024 * 1024


class AssemblyFiles:
    """The files of one directory. Each method raises OutputError where the disk refuses."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def take(
        self, task: Task, index: int, decoded: Fragment | Incomplete
    ) -> Envelope | Skipped | Parked:
        """In a worker, take a message that is part of an envelope.

        It is put on disk; or, if the task says where the other parts are, it is the envelope.
        """
        number, value = task.numbers[index], task.values[index] or b""
        position = task.partition, task.offsets[index]
        if isinstance(decoded, Fragment):
            piece, size = self.store(position, value, decoded.content)
            return ParkedFragment(
                number, size, decoded.blob, decoded.number, piece.start, piece.length
            )
        if task.pieces is None and decoded.blobs:
            _, size = self.store(position, value, b"")
            return ParkedWhole(number, size, [(each.key, each.fragments) for each in decoded.blobs])
        pieces = task.pieces or {}
        missing = sum(blob.key not in pieces for blob in decoded.blobs)
        for reason in (*decoded.left_out, *("missing_chunks",) * missing):
            incr(f"attachments.{reason}")
        return decoded.completed({key: self.join(found) for key, found in pieces.items()})

    def store(self, position: Position, value: bytes, content: bytes) -> tuple[Piece, int]:
        """Write a message. Returns where ``content`` is in its file, and the bytes that it takes.

        The content of a message that was prepared differs from what its value holds: it follows.
        """
        start = value.find(content)
        parts = (value,) if start >= 0 else (value, content)
        path = self._path(position)
        # Under another name first: an abandoned task's worker may write the same message.
        partial = f"{path}.{os.getpid()}"
        try:
            with open(partial, "wb", buffering=0) as file:  # noqa: PTH123 - half of Path.open's time
                for part in parts:
                    _write(file.fileno(), part)
            os.replace(partial, path)  # noqa: PTH105 - see above
        except OSError as error:
            raise self._refusal(error) from error
        size = sum(len(part) for part in parts)
        piece = Piece(position, start if start >= 0 else len(value), len(content))
        return piece, -(-size // _BLOCK_BYTES) * _BLOCK_BYTES

    def read(self, position: Position, length: int) -> bytes:
        """The first bytes of a message's file, which are its value."""
        try:
            with open(self._path(position), "rb", buffering=0) as file:  # noqa: PTH123 - as above
                return file.read(length)
        except OSError as error:
            raise self._refusal(error) from error

    def join(self, pieces: Sequence[Piece]) -> bytes:
        """The content of a blob: bytes, or something large that behaves like bytes in a join."""
        length = sum(piece.length for piece in pieces)
        try:
            if length < _MAPPED_BYTES:
                return b"".join(self._content(piece) for piece in pieces)
            with tempfile.TemporaryFile(dir=self._directory, buffering=0) as whole:
                for piece in pieces:
                    self._copy(piece, whole.fileno())
                mapped = mmap.mmap(whole.fileno(), length, prot=mmap.PROT_READ)
            return cast(bytes, memoryview(mapped))
        except OSError as error:
            raise self._refusal(error) from error

    def _content(self, piece: Piece) -> bytes:
        with open(self._path(piece.position), "rb", buffering=0) as file:  # noqa: PTH123 - as above
            return os.pread(file.fileno(), piece.length, piece.start)

    def _copy(self, piece: Piece, target: int) -> None:
        with open(self._path(piece.position), "rb", buffering=0) as file:  # noqa: PTH123 - as above
            start, end = piece.start, piece.start + piece.length
            while start < end:
                sent = os.sendfile(target, file.fileno(), start, end - start)
                if not sent:
                    raise OSError(None, "a file is shorter than it was", str(file.name))
                start += sent

    def remove(self, position: Position) -> None:
        with suppress(OSError):
            os.unlink(self._path(position))  # noqa: PTH108 - as above

    def _path(self, position: Position) -> str:
        return f"{self._directory}/{position[0]}-{position[1]}"

    def _refusal(self, error: OSError) -> OutputError:
        return OutputError(
            f"an attachment can't be assembled in {self._directory}: {error.strerror or error}. "
            "Name a larger disk with assembly_dir, or lower assembly_max_mb"
        )


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class AssemblyDirectory:
    """A new directory inside ``parent``, locked while its run lives.

    Raises OutputError if it can't be made.
    """

    def __init__(self, parent: Path | None) -> None:
        base = Path(tempfile.gettempdir()) if parent is None else parent
        try:
            while True:
                self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
                self._lock = _lock(self.path)
                # Another run may have taken it for a leftover before the lock was there.
                if self._lock is not None and self.path.exists():
                    break
        except OSError as error:
            raise OutputError(
                f"the directory for attachments can't be made in {base}: {error.strerror}. "
                "Name another one with assembly_dir"
            ) from error
        _remove_leftovers(base)

    def close(self) -> None:
        """Remove it with its files."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_leftovers(base: Path) -> None:
    """Remove the directories of this user whose run is gone: nothing holds their lock."""
    for path in base.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if path.lstat().st_uid != os.getuid() or path.is_symlink():
                continue
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
                log.info("assemblies_removed", directory=str(path), why="their run has ended")


def _lock(path: Path) -> int | None:
    """A descriptor that holds the directory's lock; None if a run has it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
