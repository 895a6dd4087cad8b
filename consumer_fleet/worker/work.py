"""Chunks in flight: which of their messages are settled, and which a worker has."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from consumer_fleet.kafka.chunk import Chunk, DeadLetter
from consumer_fleet.metrics import incr
from consumer_fleet.worker.protocol import TaskMessage


@dataclass(slots=True)
class Advance:
    """The growth of a chunk's settled prefix.

    Commit ``next_offset`` once the dead letters in it are stored.
    """

    next_offset: int
    settled: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)


class Work:
    """One chunk and the state of each of its messages, by index.

    Settling twice is harmless, and the first outcome holds: a worker may die after it has sent a
    message and before its receipt.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        # False: not settled. True: delivered or filtered. A DeadLetter: rejected.
        self._outcomes: list[bool | DeadLetter] = [False] * len(chunk.records)
        self._accepted_by: dict[int, list[str]] = {}
        self._prefix = 0
        self.unsettled = len(chunk.records)
        # How many workers in a row ended while they decoded the message.
        self.deaths: Counter[int] = Counter()
        # Nothing waits for it any more: its partition has moved, or time was up.
        self.abandoned = False

    @property
    def done(self) -> bool:
        """Every message is settled and was taken by ``advance``."""
        return self._prefix == len(self._outcomes)

    def is_settled(self, index: int) -> bool:
        return self._outcomes[index] is not False

    def settle(self, index: int) -> bool:
        """A message is delivered or filtered. False if it was settled before."""
        return self._set(index, True)

    def reject(self, index: int, reason: str, detail: str) -> bool:
        """A message can't be delivered. False if it was settled before."""
        return self._set(index, DeadLetter(self.chunk.records[index], reason, detail))

    def _set(self, index: int, outcome: bool | DeadLetter) -> bool:
        if self._outcomes[index] is not False:
            return False
        self._outcomes[index] = outcome
        self._accepted_by.pop(index, None)
        self.unsettled -= 1
        return True

    def accepted(self, index: int, destination: str) -> None:
        """One of several destinations has accepted it: it need not be sent there again."""
        if not self.is_settled(index):
            self._accepted_by.setdefault(index, []).append(destination)

    def advance(self) -> Advance | None:
        """Return how far the contiguous settled prefix has grown since the last call, if it has."""
        start = self._prefix
        while self._prefix < len(self._outcomes) and self._outcomes[self._prefix] is not False:
            self._prefix += 1
        if self._prefix == start:
            return None
        outcomes = self._outcomes[start : self._prefix]
        return Advance(
            next_offset=self.chunk.records[self._prefix - 1].offset + 1,
            settled=len(outcomes),
            dead_letters=[outcome for outcome in outcomes if isinstance(outcome, DeadLetter)],
        )

    def messages(self, indexes: list[int], *, whole: bool = False) -> list[TaskMessage]:
        """The messages at these indexes, for a task; ``whole``: with key and headers."""
        records = self.chunk.records
        messages = [
            TaskMessage(
                index,
                records[index].offset,
                records[index].timestamp_ms,
                records[index].value,
                self._accepted_by.get(index, ()),
            )
            for index in indexes
        ]
        if not whole:
            return messages
        return [
            message._replace(key=records[index].key, headers=records[index].headers)
            for index, message in zip(indexes, messages, strict=True)
        ]


@dataclass(slots=True)
class Assignment:
    """Messages of one chunk that one worker has, or that wait for one."""

    work: Work
    indexes: list[int]
    # The message was taken for the cause of a worker's end: it goes alone.
    alone: bool = False


@dataclass(slots=True)
class OutcomeCounts:
    """Settled messages since the start: for the summary, the live line and the metrics."""

    delivered: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.delivered + self.filtered.total() + self.rejected.total()

    def count_delivered(self, messages: int) -> None:
        if messages:
            self.delivered += messages
            incr("consumer.messages", amount=messages, tags={"outcome": "delivered"})

    def count_filtered(self, reason: str) -> None:
        self.filtered[reason] += 1
        incr("consumer.messages", tags={"outcome": "filtered"})
        incr("consumer.filtered", tags={"reason": reason})

    def count_rejected(self, reason: str) -> None:
        self.rejected[reason] += 1
        incr("consumer.messages", tags={"outcome": "rejected"})
        incr("consumer.rejected", tags={"reason": reason})
