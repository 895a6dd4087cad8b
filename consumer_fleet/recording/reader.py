"""Reads a recording: every complete block, then an error if the file is damaged behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
from arroyo.types import Partition, Topic

from consumer_fleet.errors import RecordingError
from consumer_fleet.kafka.chunk import Chunk, Pair, Record, cut_records
from consumer_fleet.recording.format import (
    END,
    FORMAT_VERSION,
    MAGIC,
    MAX_MESSAGE_BYTES,
    MAX_PART_BYTES,
    MESSAGES,
    BrokenPart,
    Part,
    PartReader,
    RecordingHeader,
    unpack_block,
    unpack_header,
)


class Recording:
    """A recording's header and messages. Each call of ``messages`` reads the file again.

    Raises RecordingError (exit 65) for a file that is not a recording, is of a newer version, or
    can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Bytes read so far, of ``size_bytes``.
        self.position = 0
        with self._open() as file:
            try:
                parts = PartReader(file)
                self.size_bytes = parts.size
                self.header = self._header(parts)
            except OSError as error:
                raise self._unreadable(error) from error

    def messages(self) -> Iterator[Pair]:
        """The (partition, message) pairs of every complete block.

        Raises RecordingError where the file is cut or damaged: it names the byte and the number of
        readable messages.
        """
        for block in self.blocks():
            yield from block

    def chunks(self) -> Iterator[Chunk]:
        """The same in chunks of one partition each."""
        topic = Topic(self.header.topic)
        for block in self.blocks():
            yield from chunks_of(topic, block)

    def blocks(self) -> Iterator[list[Pair]]:
        """The same, block by block."""
        counts: Counter[int] = Counter()
        with self._open() as file:
            parts = PartReader(file)
            self._header(parts)
            try:
                while (part := self._next(parts)).kind == MESSAGES:
                    block = self._block(part, counts)
                    # What is yielded counts as readable, even if the caller stops within it.
                    self.position = parts.position
                    yield block
                _check_end(part, counts, parts)
            except BrokenPart as error:
                raise RecordingError(
                    f"{self.path} is cut or damaged at byte {self.position:,}: {error}; "
                    f"{counts.total():,} messages are readable up to byte {self.position:,}"
                ) from error
            except OSError as error:
                raise self._unreadable(error) from error

    @staticmethod
    def _block(part: Part, counts: Counter[int]) -> list[Pair]:
        block = unpack_block(part.body)
        counts.update(map(itemgetter(0), block))
        return block

    @staticmethod
    def _next(parts: PartReader) -> Part:
        if parts.at_end:
            raise BrokenPart("its end is missing: the recording was not completed")
        length, kind = parts.kind()
        if length != 3 or kind not in (MESSAGES, END):
            raise BrokenPart("no block follows")
        part = parts.rest(kind, 1, MAX_MESSAGE_BYTES if kind == MESSAGES else MAX_PART_BYTES)
        if not part.is_intact:
            raise BrokenPart("a block's checksum is wrong")
        return part

    def _header(self, parts: PartReader) -> RecordingHeader:
        try:
            length, kind = parts.kind()
            version = parts.number() if kind == MAGIC else 0
        except BrokenPart as error:
            raise self._not_a_recording() from error
        if kind != MAGIC:
            raise self._not_a_recording()
        if version != FORMAT_VERSION:
            raise RecordingError(
                f"{self.path} is a recording of format version {version}; this program reads "
                f"version {FORMAT_VERSION}: use the consumer-fleet that wrote it, or a newer one"
            )
        try:
            part = parts.rest(kind, 1, MAX_PART_BYTES)
            if length != 4 or not part.is_intact:
                raise BrokenPart("its checksum is wrong")
            header = unpack_header(version, part.body)
        except BrokenPart as error:
            raise RecordingError(
                f"{self.path}: the recording's header is cut or damaged ({error}); nothing is "
                "readable"
            ) from error
        except RecordingError as error:
            raise RecordingError(f"{self.path} can't be read: {error}") from error
        self.position = parts.position
        return header

    def _not_a_recording(self) -> RecordingError:
        empty = " (it is empty)" if not self.path.stat().st_size else ""
        return RecordingError(
            f'{self.path} is not a recording{empty}; create one with "consumer record"'
        )

    def _open(self) -> BinaryIO:
        try:
            # A pipe would wait for its writer, and its header can't be read twice.
            if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
                raise RecordingError(
                    f"{self.path} is not a regular file: save the recording as one"
                )
            return self.path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> RecordingError:
        return RecordingError(f"{self.path} can't be read: {error.strerror or error}")


def _check_end(part: Part, counts: Counter[int], parts: PartReader) -> None:
    try:
        promised: Any = msgpack.unpackb(part.body)["messages"]
        expected = {int(index): count for index, count in promised.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BrokenPart("its end has no message counts") from error
    if expected != dict(counts):
        raise BrokenPart(f"its end has other message counts than the blocks: {expected}")
    if not parts.at_end:
        raise BrokenPart(f"{parts.size - parts.position:,} bytes follow its end")


def chunks_of(topic: Topic, messages: Iterable[Pair]) -> Iterator[Chunk]:
    """Group messages by partition, and cut each group into chunks."""
    groups: dict[int, list[Record]] = {}
    for index, record in messages:
        groups.setdefault(index, []).append(record)
    for index, records in groups.items():
        yield from cut_records(Partition(topic, index), records)
