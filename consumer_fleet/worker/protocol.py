"""The frames on a worker's pipe, and the memory that it shares with its parent.

Frames are msgpack: nothing that came from Kafka is ever unpickled.

A message in a task is known by its number, its index in the task's chunk, so a task may hold any
subset of a chunk, and may be sent again without the settled ones.

::

    parent → worker   TASK     task id, topic, partition, region, and the messages in columns:
                               numbers, offsets, timestamps, values, keys and headers (both
                               empty unless the run prepares messages), {number: destinations
                               that accepted it before}, {number: its state when it was held},
                               the pieces of a whole by blob or nil
                      DRAIN    [task id, …]: give up what can't be sent at once of them
                      CANCEL   task id: start no more of its messages
                      CHANGE   what `MultiplexingTransport.change` takes
                      STOP     finish what was sent, then exit
                      LAID     of a large frame in the shared memory: start, length, ring's end
    worker → parent   READY    the worker has booted and takes tasks: the time
                      FAILED   its boot failed: the error's text, its exit code
                      NEWS     messages were delivered: see the shared memory
                      RECEIPTS task id, [[number, reason], …] filtered, [[number, reason, detail],
                               …] rejected, [parked message as a row, …], [number, state…]
                               held, [number, …] given up
                      DONE     task id: it writes no more to the task's region
                      STATUS   [destination status as a map, …]

A message that was delivered, or that one of two destinations has accepted, is marked by a byte in
shared memory, at its number in the task's region. The byte is there as soon as the answer is, and
stays there when the worker dies.

Large frames to a worker go through a ring in the same memory, which spares both sides the copies
of the pipe; where it has no room for one, the pipe takes it.

A parked message has left the window: it is on disk, where it stays beyond the worker's death. It
frees its budget, others pass it, and only the commit waits for it.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from multiprocessing.context import SpawnContext
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import msgpack

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.dead_letter_headers import Headers
from consumer_fleet.worker.assemblies import Piece

# A signal to the whole process group means the parent, which decides when workers end.
SIGNALS_TO_THE_PARENT = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
# Compared by value: its identity does not survive the way into another process.
STOP = b"consumer-fleet worker: stop"


class Kind(IntEnum):
    TASK = 1
    CANCEL = 2
    READY = 3
    FAILED = 4
    RECEIPTS = 5
    STATUS = 6
    NEWS = 7
    DONE = 8
    CHANGE = 9
    DRAIN = 10
    LAID = 11


class Task(NamedTuple):
    """Messages of one partition for one worker, in columns.

    ``region`` is where the chunk's receipts begin in the shared memory. ``keys`` and ``headers``
    are empty unless the run prepares messages.
    """

    task_id: int
    topic: str
    partition: int
    region: int
    numbers: Sequence[int]
    offsets: Sequence[int]
    timestamps_ms: Sequence[int | None]
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    headers: Sequence[Headers]
    accepted_by: Mapping[int, Sequence[str]]
    held: Mapping[int, Sequence[Any]]
    #: For a parked message whose parts are there: where they are on disk.
    pieces: Mapping[bytes, Sequence[Piece]] | None = None


class ParkedFragment(NamedTuple):
    """A message on disk that is a fragment of a blob, and where in its file the content is.

    ``number`` is the message's in its task, ``size`` the bytes that it takes on disk.
    """

    number: int
    size: int
    blob: bytes
    fragment: int
    start: int
    length: int


class ParkedWhole(NamedTuple):
    """A message on disk whose envelope has these blobs: their keys and numbers of fragments."""

    number: int
    size: int
    blobs: Sequence[tuple[bytes, int]]


Parked: TypeAlias = ParkedFragment | ParkedWhole


@dataclass(slots=True)
class Receipts:
    """The outcomes of messages of one task since the last receipts, except deliveries."""

    task_id: int
    filtered: list[tuple[int, str]] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    held: list[tuple[int, list[Any]]] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.filtered or self.rejected or self.parked or self.held or self.given_up)


def _frame(*fields: object) -> bytes:
    # An error's text may hold lone surrogates, which UTF-8 can't encode: they are escaped.
    return bytes(msgpack.packb(fields, unicode_errors="backslashreplace"))


def encode_task(task: Task) -> bytes:
    return _frame(Kind.TASK, *task)


def encode_cancel(task_id: int) -> bytes:
    return _frame(Kind.CANCEL, task_id)


def encode_drain(task_ids: Sequence[int]) -> bytes:
    return _frame(Kind.DRAIN, task_ids)


def encode_change(saas_sample_rate: float, takes_own_events: bool) -> bytes:
    return _frame(Kind.CHANGE, saas_sample_rate, takes_own_events)


def encode_ready(at_s: float) -> bytes:
    """``at_s`` by ``time.monotonic``, which is one clock for all processes of a machine."""
    return _frame(Kind.READY, at_s)


def encode_failed(text: str, exit_code: int) -> bytes:
    return _frame(Kind.FAILED, text, exit_code)


def encode_receipts(receipts: Receipts) -> bytes:
    return _frame(
        Kind.RECEIPTS,
        receipts.task_id,
        receipts.filtered,
        receipts.rejected,
        receipts.parked,
        receipts.held,
        receipts.given_up,
    )


NEWS = _frame(Kind.NEWS)


def encode_done(task_id: int) -> bytes:
    return _frame(Kind.DONE, task_id)


def encode_status(statuses: Sequence[DestinationStatus]) -> bytes:
    return _frame(Kind.STATUS, [asdict(status) for status in statuses])


def decode(frame: bytes | memoryview) -> tuple[Kind, list[Any]]:
    """The kind and the fields of a frame. Both ends are this program: a bad frame is our bug."""
    kind, *fields = msgpack.unpackb(frame, raw=False, strict_map_key=False)
    return Kind(kind), fields


def as_task(fields: Sequence[Any]) -> Task:
    task = Task(*fields)
    if task.pieces is None:
        return task
    pieces = {
        key: [Piece((at[0], at[1]), start, length) for at, start, length in found]
        for key, found in task.pieces.items()
    }
    return task._replace(pieces=pieces)


def as_receipts(fields: Sequence[Any]) -> Receipts:
    receipts = Receipts(*fields)
    if receipts.parked:
        receipts.parked = [
            ParkedWhole(*row) if len(row) == len(ParkedWhole._fields) else ParkedFragment(*row)
            for row in receipts.parked
        ]
    return receipts


def as_statuses(fields: Sequence[Any]) -> list[DestinationStatus]:
    return [DestinationStatus(**status) for status in fields[0]]


_BEAT_NS, _TASK, _NUMBER, _LOSABLE, _HAS_NEWS, _RING_READ, _ACCEPTED = range(7)
_NO_TASK = -1
# Bytes for receipts: each message that is stuck may keep the region of a whole chunk.
_RECEIPT_BYTES = 128 * 1024
# For three of the largest usual chunks. With half of it, messages of 61 KB cost a third more.
_RING_BYTES = 4 * 1024 * 1024
# A smaller frame passes the pipe at once.
_LARGE_FRAME_BYTES = 16 * 1024
DELIVERED = 1
ACCEPTED_BY = MappingProxyType({"upstream": 2, "saas": 4})


class Suspect(NamedTuple):
    """The message that a worker is decoding: the cause, should the worker end now."""

    task_id: int
    number: int


def _make_packer() -> msgpack.Packer:
    return msgpack.Packer(autoreset=False, unicode_errors="backslashreplace")


class SharedState:
    """Memory shared by a worker and its parent. Picklable only into a spawned process."""

    def __init__(self, context: SpawnContext, destinations: int = 2) -> None:
        self._arrays = (
            context.RawArray("q", _ACCEPTED + destinations),
            context.RawArray("B", _RECEIPT_BYTES),
            context.RawArray("B", _RING_BYTES),
        )
        self._open_views()
        # The parent's: how much of the ring was used since the start, and the packer of tasks. It
        # keeps its buffer: memory that is new for each chunk would cost more than the packing.
        self._ring_used = 0
        self._packer = _make_packer()
        self._cells[_TASK] = _NO_TASK
        self.beat()

    def _open_views(self) -> None:
        cells, receipts, ring = self._arrays
        # A memoryview takes half the time of an array of ctypes.
        self._cells = memoryview(cells).cast("B").cast("q")
        #: Its one cell is the message's number; after ``begin``, it alone goes to the next one.
        self.suspect_number = self._cells[_NUMBER : _NUMBER + 1]
        # One byte per message: DELIVERED, and ACCEPTED_BY for each of several destinations.
        self.receipts = memoryview(receipts).cast("B")
        self._ring = memoryview(ring).cast("B")

    def __getstate__(self) -> object:
        return self._arrays

    def __setstate__(self, arrays: Any) -> None:
        self._arrays = arrays
        self._open_views()

    def beat(self) -> None:
        """The worker is alive. CLOCK_MONOTONIC is the same clock in every process."""
        self._cells[_BEAT_NS] = time.monotonic_ns()

    def begin(self, task_id: int, number: int) -> None:
        """The worker begins to decode a message: the cause, should it die before ``end``."""
        cells = self._cells
        cells[_NUMBER] = number
        cells[_TASK] = task_id

    def end(self) -> None:
        self._cells[_TASK] = _NO_TASK

    def announce(self) -> bool:
        """The worker has written receipts. Returns whether to tell the parent, which does not
        know of any since it last looked.
        """
        if self._cells[_HAS_NEWS]:
            return False
        self._cells[_HAS_NEWS] = 1
        return True

    def take_news(self) -> bool:
        """Whether there may be receipts since the last call. Call it before reading them."""
        if not self._cells[_HAS_NEWS]:
            return False
        self._cells[_HAS_NEWS] = 0
        return True

    def lay_task(self, task: Task) -> bytes:
        """Put a large task into the ring, if it has room. Returns the frame to send."""
        self._packer.pack((Kind.TASK, *task))
        with memoryview(self._packer.getbuffer()) as frame:
            length = len(frame)
            laid = self._lay(frame) if length >= _LARGE_FRAME_BYTES else None
            sent = laid or bytes(frame)
        if length <= _RING_BYTES:
            self._packer.reset()
        else:
            self._packer = _make_packer()
        return sent

    def _lay(self, frame: memoryview) -> bytes | None:
        length = len(frame)
        start = self._ring_used % _RING_BYTES
        end = self._ring_used + length
        if start + length > _RING_BYTES:
            end += _RING_BYTES - start
            start = 0
        if end - self._cells[_RING_READ] > _RING_BYTES:
            return None
        self._ring[start : start + length] = frame
        self._ring_used = end
        return _frame(Kind.LAID, start, length, end)

    def take_laid(self, start: int, length: int, end: int) -> tuple[Kind, list[Any]]:
        """Decode the frame of a LAID. The worker takes them in their order."""
        decoded = decode(self._ring[start : start + length])
        self._cells[_RING_READ] = end
        return decoded

    def note_losable(self, envelopes: int) -> None:
        """Note the envelopes that wait for best-effort destinations: a death drops them."""
        self._cells[_LOSABLE] = envelopes

    def note_accepted(self, envelopes: Sequence[int]) -> None:
        """Note each destination's accepted envelopes, in the order of the worker's statuses."""
        for position, number in enumerate(envelopes, _ACCEPTED):
            self._cells[position] = number

    @property
    def silent_s(self) -> float:
        return (time.monotonic_ns() - self._cells[_BEAT_NS]) / 1e9

    @property
    def suspect(self) -> Suspect | None:
        task_id = self._cells[_TASK]
        return None if task_id == _NO_TASK else Suspect(task_id, self._cells[_NUMBER])

    @property
    def losable(self) -> int:
        return self._cells[_LOSABLE]

    @property
    def accepted(self) -> list[int]:
        """Accepted envelopes by destination; 0 for a missing one."""
        return self._cells[_ACCEPTED:].tolist()


class Regions:
    """The parent's book of a worker's receipt bytes: which are in use.

    A region may be used again only after the worker's DONE: until then it may still be written.
    """

    def __init__(self, size: int = _RECEIPT_BYTES) -> None:
        self._free: list[tuple[int, int]] = [(0, size)]  # (start, length), in order

    def fits(self, length: int) -> bool:
        return any(free >= length for _, free in self._free)

    def take(self, length: int) -> int:
        """Returns where the region begins. Call only if it ``fits``."""
        for index, (start, free) in enumerate(self._free):
            if free >= length:
                self._free[index : index + 1] = (
                    [(start + length, free - length)] if free > length else []
                )
                return start
        raise ValueError(f"no free region of {length} bytes")

    def give_back(self, start: int, length: int) -> None:
        merged: list[tuple[int, int]] = []
        for each in sorted([*self._free, (start, length)]):
            if merged and sum(merged[-1]) == each[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + each[1])
            else:
                merged.append(each)
        self._free = merged
