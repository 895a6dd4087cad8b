"""One held message, how many there are of a kind, and which destinations are alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from arroyo.types import Partition

from consumer_fleet.capture.held import Held
from consumer_fleet.kafka.chunk import DeadLetter, name_of
from consumer_fleet.worker.assemblies import Piece
from consumer_fleet.worker.spool import Stored
from consumer_fleet.worker.work import PoolShare, Work

_ALIVE_INTERVAL_S: Final = 0.5

Pieces: TypeAlias = Mapping[bytes, Sequence[Piece]]
# Of an entry: it waits for its time, a worker has it, or its dead letter is on its way.
State: TypeAlias = Literal["waiting", "out", "leaving"]


@dataclass(slots=True, eq=False)
class Entry:
    """One held message. Times are of ``time.monotonic``."""

    partition: Partition
    offset: int
    stored: Stored
    held: Held
    since: float
    due: float
    attempts: int = 1
    timestamp_ms: int | None = None
    state: State = "waiting"
    work: Work | None = None
    letter: DeadLetter | None = None
    # Before it becomes a dead letter: the attempts that it got, and the one that is due next.
    last_attempts: int = 0
    next_attempt: int = 0
    # Of a message whose envelope has parts on disk: where they are.
    pieces: Pieces | None = None

    @property
    def size(self) -> int:
        """Bytes that a worker sends of it."""
        parts = (piece.length for found in (self.pieces or {}).values() for piece in found)
        return self.stored.size + sum(parts)

    @property
    def position(self) -> str:
        return f"{name_of(self.partition)}@{self.offset}"


@dataclass(slots=True)
class Kept:
    """Messages by partition, and their bytes in all."""

    counts: Counter[Partition] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, entry: Entry, number: int = 1) -> None:
        self.counts[entry.partition] += number
        self.bytes += number * entry.stored.size


@dataclass(slots=True)
class Alive:
    """When destinations have accepted something last, by their counts. ``down`` are those that take
    nothing now and have a message to try it with.
    """

    accepted: dict[str, int] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    due: float = 0.0

    def note_if_due(self, pool: PoolShare, now: float) -> None:
        """All the time, also while nothing is held: it may have accepted its last just before."""
        if now < self.due:
            return
        self.due = now + _ALIVE_INTERVAL_S
        statuses = pool.statuses()
        closed = ("backing_off", "paused")
        self.down = {each.name for each in statuses if each.state in closed and each.pending}
        for status in statuses:
            if status.accepted > self.accepted.get(status.name, 0):
                self.accepted[status.name] = status.accepted
                self.at[status.name] = now
