"""A few numbers that a worker and its parent share: they outlive the worker's death.

What a pipe can't tell after a crash stands here: which message was being worked on, and when the
worker last showed that it lives. Some 64-bit integers, written by the worker alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnContext

_BEAT_NS, _TASK, _INDEX, _LOSABLE, _ACCEPTED = range(5)
_DESTINATIONS = 2
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Suspect:
    """The message that a worker had in its hands: a task's id, and an index in it."""

    task_id: int
    index: int


class Board:
    """Shared memory between one worker and its parent; picklable into a spawned process only."""

    def __init__(self, context: SpawnContext) -> None:
        self._cells = context.RawArray("q", _ACCEPTED + _DESTINATIONS)
        self._cells[_TASK] = _NOBODY
        self.beat()

    def beat(self) -> None:
        """The worker is alive. CLOCK_MONOTONIC is the same clock in every process."""
        self._cells[_BEAT_NS] = time.monotonic_ns()

    def begin(self, task_id: int, index: int) -> None:
        """The worker takes up a message; a death from here to ``end`` is blamed on it."""
        self._cells[_INDEX] = index
        self._cells[_TASK] = task_id

    def end(self) -> None:
        self._cells[_TASK] = _NOBODY

    def note_losable(self, envelopes: int) -> None:
        """Envelopes that wait for best-effort destinations: a death drops them, to be counted."""
        self._cells[_LOSABLE] = envelopes

    def note_accepted(self, envelopes: Sequence[int]) -> None:
        """Envelopes that each destination has taken, in the order of the worker's statuses."""
        self._cells[_ACCEPTED : _ACCEPTED + len(envelopes)] = envelopes

    @property
    def silent_s(self) -> float:
        return (time.monotonic_ns() - int(self._cells[_BEAT_NS])) / 1e9

    @property
    def suspect(self) -> Suspect | None:
        task_id = int(self._cells[_TASK])
        return None if task_id == _NOBODY else Suspect(task_id, int(self._cells[_INDEX]))

    @property
    def losable(self) -> int:
        return int(self._cells[_LOSABLE])

    @property
    def accepted(self) -> list[int]:
        """By destination; 0 where there is none."""
        return list(self._cells[_ACCEPTED:])
