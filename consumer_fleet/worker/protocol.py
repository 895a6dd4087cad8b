"""The frames on a worker's pipe, and the memory that it shares with its parent.

Frames are msgpack: nothing that came from Kafka is ever unpickled.

A message in a task is known by its number, its index in the task's chunk, so a task may hold any
subset of a chunk, and may be sent again without the settled ones.

::

    parent → worker   TASK     task id, topic, partition, [[number, offset, timestamp_ms, value,
                               destinations that accepted it before, key, headers], …]; the
                               last two only where the run prepares messages
                      CANCEL   task id: start no more of its messages
                      STOP     finish what was sent, then exit
    worker → parent   READY    the worker has booted and takes tasks: the time
                      FAILED   its boot failed: the error's text, its exit code
                      RECEIPTS task id, [number of delivered, …], [[number, reason], …] filtered,
                               [[number, reason, detail], …] rejected,
                               [[number, destination], …] accepted by one of several destinations
                      STATUS   [destination status as a map, …]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from multiprocessing.context import SpawnContext
from typing import Any, NamedTuple

import msgpack

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.dead_letter_headers import Headers

# Compared by value: its identity does not survive the way into another process.
STOP = b"consumer-fleet worker: stop"


class Kind(IntEnum):
    TASK = 1
    CANCEL = 2
    READY = 3
    FAILED = 4
    RECEIPTS = 5
    STATUS = 6


class TaskMessage(NamedTuple):
    """One message of a task. ``number`` is its index in the task's chunk; ``accepted_by`` names
    destinations not to send it to again.
    """

    number: int
    offset: int
    timestamp_ms: int | None
    value: bytes | None
    accepted_by: Sequence[str]
    key: bytes | None = None
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Messages of one partition for one worker."""

    task_id: int
    topic: str
    partition: int
    messages: Sequence[TaskMessage]


@dataclass(slots=True)
class Receipts:
    """The outcomes of messages of one task since the last receipts."""

    task_id: int
    delivered: list[int] = field(default_factory=list)
    filtered: list[tuple[int, str]] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    accepted: list[tuple[int, str]] = field(default_factory=list)


def _frame(*fields: object) -> bytes:
    # An error's text may hold lone surrogates, which UTF-8 can't encode: they are escaped.
    return bytes(msgpack.packb(fields, unicode_errors="backslashreplace"))


def encode_task(task: Task) -> bytes:
    return _frame(Kind.TASK, task.task_id, task.topic, task.partition, task.messages)


def encode_cancel(task_id: int) -> bytes:
    return _frame(Kind.CANCEL, task_id)


def encode_ready(at_s: float) -> bytes:
    """``at_s`` by ``time.monotonic``, which is one clock for all processes of a machine."""
    return _frame(Kind.READY, at_s)


def encode_failed(text: str, exit_code: int) -> bytes:
    return _frame(Kind.FAILED, text, exit_code)


def encode_receipts(receipts: Receipts) -> bytes:
    return _frame(
        Kind.RECEIPTS,
        receipts.task_id,
        receipts.delivered,
        receipts.filtered,
        receipts.rejected,
        receipts.accepted,
    )


def encode_status(statuses: Sequence[DestinationStatus]) -> bytes:
    return _frame(Kind.STATUS, [asdict(status) for status in statuses])


def decode(frame: bytes) -> tuple[Kind, list[Any]]:
    """The kind and the fields of a frame. Both ends are this program: a bad frame is our bug."""
    kind, *fields = msgpack.unpackb(frame, raw=False, strict_map_key=False)
    return Kind(kind), fields


def as_task(fields: Sequence[Any]) -> Task:
    task_id, topic, partition, messages = fields
    return Task(task_id, topic, partition, [TaskMessage(*message) for message in messages])


def as_receipts(fields: Sequence[Any]) -> Receipts:
    task_id, delivered, filtered, rejected, accepted = fields
    return Receipts(task_id, delivered, filtered, rejected, accepted)


def as_statuses(fields: Sequence[Any]) -> list[DestinationStatus]:
    return [DestinationStatus(**status) for status in fields[0]]


_BEAT_NS, _TASK, _INDEX, _LOSABLE, _ACCEPTED = range(5)
_DESTINATIONS = 2
_NO_TASK = -1


@dataclass(frozen=True, slots=True)
class Suspect:
    """The message that a worker is decoding: the cause, should the worker end now."""

    task_id: int
    index: int


class SharedState:
    """Numbers shared by a worker and its parent. Picklable only into a spawned process."""

    def __init__(self, context: SpawnContext) -> None:
        self._cells = context.RawArray("q", _ACCEPTED + _DESTINATIONS)
        self._cells[_TASK] = _NO_TASK
        self.beat()

    def beat(self) -> None:
        """The worker is alive. CLOCK_MONOTONIC is the same clock in every process."""
        self._cells[_BEAT_NS] = time.monotonic_ns()

    def begin(self, task_id: int, index: int) -> None:
        """The worker begins to decode a message: the cause, should it die before ``end``."""
        self._cells[_INDEX] = index
        self._cells[_TASK] = task_id

    def end(self) -> None:
        self._cells[_TASK] = _NO_TASK

    def note_losable(self, envelopes: int) -> None:
        """Note the envelopes that wait for best-effort destinations: a death drops them."""
        self._cells[_LOSABLE] = envelopes

    def note_accepted(self, envelopes: Sequence[int]) -> None:
        """Note each destination's accepted envelopes, in the order of the worker's statuses."""
        self._cells[_ACCEPTED : _ACCEPTED + len(envelopes)] = envelopes

    @property
    def silent_s(self) -> float:
        return (time.monotonic_ns() - int(self._cells[_BEAT_NS])) / 1e9

    @property
    def suspect(self) -> Suspect | None:
        task_id = int(self._cells[_TASK])
        return None if task_id == _NO_TASK else Suspect(task_id, int(self._cells[_INDEX]))

    @property
    def losable(self) -> int:
        return int(self._cells[_LOSABLE])

    @property
    def accepted(self) -> list[int]:
        """Accepted envelopes by destination; 0 where there is none."""
        return list(self._cells[_ACCEPTED:])
