"""What became of messages: lines wait for it a while, and are shown again when it changes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from consumer_fleet.kafka.open_offsets import CommitMetadata
from consumer_fleet.kafka.reader import PartitionId
from consumer_fleet.tail.line import TailLine

#: What a group has committed in each partition of a topic.
Commits: TypeAlias = Mapping[PartitionId, tuple[int, CommitMetadata]]
_Position: TypeAlias = tuple[str, int, int]

# More lines than these are shown as they are, and not again.
_MOST_PENDING: Final = 5000
_MOST_SHOWN: Final = 10_000
_MOST_LETTERS: Final = 10_000


class _Pending(NamedTuple):
    line: TailLine
    due: float


class Deliveries:
    """Lines leave (``take``) in the order in which they came, once they are settled, held or dead
    letters, or after ``wait_s``. One that is held or becomes a dead letter later leaves again, and
    so does a held one that is settled. Used from one thread.
    """

    def __init__(self, wait_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wait_s = wait_s
        self._clock = clock
        self._pending: deque[_Pending] = deque()
        self._by_position: dict[_Position, TailLine] = {}
        self._shown: dict[_Position, TailLine] = {}
        self._again: list[TailLine] = []
        self._letters: dict[_Position, str] = {}
        # Topics in which the group has never committed.
        self._unused: set[str] = set()

    def add(self, line: TailLine) -> None:
        self._pending.append(_Pending(line, self._clock() + self._wait_s))
        self._by_position[line.position] = line
        reason = self._letters.pop(line.position, None)
        if reason is not None:
            line.delivery, line.detail = "dead letter", reason

    def topics(self) -> set[str]:
        """The topics of which commits are of interest."""
        pending = {each.line.topic for each in self._pending}
        return pending | {topic for topic, _, _ in self._shown}

    def dead_letter(self, position: _Position, reason: str) -> None:
        """A dead letter was stored. Call it before ``committed`` with what was committed since."""
        line = self._by_position.get(position) or self._shown.get(position)
        if line is None:
            self._letters[position] = reason
            if len(self._letters) > _MOST_LETTERS:
                del self._letters[next(iter(self._letters))]
            return
        line.delivery, line.detail = "dead letter", reason
        if self._shown.pop(position, None) is not None:
            self._again.append(line)

    def committed(self, topic: str, commits: Commits) -> None:
        """Note what the group has committed in the topic."""
        (self._unused.discard if commits else self._unused.add)(topic)
        for each in self._pending:
            if each.line.topic == topic and each.line.delivery in ("waiting", "unknown", "held"):
                _judge(each.line, commits)
        for position, line in list(self._shown.items()):
            if line.topic != topic:
                continue
            before = line.delivery
            _judge(line, commits)
            if line.delivery != before and "held" in (line.delivery, before):
                self._again.append(line)
            if line.delivery == "settled":
                del self._shown[position]

    def take(self) -> Iterator[TailLine]:
        """The lines to show now."""
        yield from self._again
        self._again.clear()
        now = self._clock()
        while self._pending:
            line, due = self._pending[0]
            is_open = line.delivery in ("waiting", "unknown")
            is_unused = line.delivery == "unknown" and line.topic in self._unused
            if is_open and not is_unused and now < due and len(self._pending) <= _MOST_PENDING:
                return
            self._pending.popleft()
            del self._by_position[line.position]
            yield line
            if is_open or line.delivery == "held":
                self._shown[line.position] = line
                if len(self._shown) > _MOST_SHOWN:
                    del self._shown[next(iter(self._shown))]


def _judge(line: TailLine, commits: Commits) -> None:
    found = commits.get((line.topic, line.partition))
    if found is None:
        line.delivery = "unknown"
        return
    offset, says = found
    if line.offset in says.open:
        line.delivery = "held"
        # The commit says it of the oldest one only.
        line.detail = says.why if line.offset == min(says.open) else ""
    elif line.offset < max(offset, says.high):
        line.delivery, line.detail = "settled", ""
    else:
        line.delivery = "waiting"
