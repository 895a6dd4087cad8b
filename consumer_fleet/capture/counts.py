"""A destination's counts: they change with every envelope, and reach the metrics once a second.

And the ids of the events that were sent, which tell the ones that come back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from typing import Any, Final, Literal, Protocol, TypeAlias

import structlog

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.capture.items import EVENTS
from consumer_fleet.metrics import incr

log = structlog.get_logger(__name__)

_INTERVAL_S: Final = 1.0


class Incr(Protocol):
    """The part of ``consumer_fleet.metrics.incr`` that capture uses."""

    def __call__(
        self,
        key: str,
        instance: str | None = None,
        tags: Mapping[str, str] | None = None,
        amount: int = 1,
    ) -> None: ...


class Count:
    """One series. Only the loop's driver adds to it."""

    __slots__ = ("_reported", "key", "tags", "total")

    def __init__(self, key: str, tags: Mapping[str, str] | None) -> None:
        self.key = key
        self.tags = tags
        self.total = 0
        self._reported = 0

    def take_new(self) -> int:
        """The number added since the last call."""
        total = self.total
        new, self._reported = total - self._reported, total
        return new


class PeriodicCounts:
    """Add up increments: a metrics call per envelope would cost as much as parsing it."""

    def __init__(self, incr: Incr, clock: Callable[[], float]) -> None:
        self._incr = incr
        self._report_due = clock() + _INTERVAL_S
        self._counts: dict[tuple[str, tuple[tuple[str, str], ...]], Count] = {}
        self._report_lock = threading.Lock()

    def count(self, key: str, tags: Mapping[str, str] | None = None) -> Count:
        """The count of one series; keep it where it is used often."""
        series = (key, tuple(tags.items()) if tags else ())
        return self._counts.setdefault(series, Count(key, tags))

    def add(self, key: str, tags: Mapping[str, str] | None = None) -> None:
        """Add one to a series that is used rarely."""
        self.count(key, tags).total += 1

    def report_if_due(self, now: float) -> None:
        """Report if a second has passed since the last report."""
        if now >= self._report_due:
            self._report_due = now + _INTERVAL_S
            self.report()

    def report(self) -> None:
        """Hand the increments since the last report to the metrics. Any thread."""
        with self._report_lock:
            for count in list(self._counts.values()):
                if new := count.take_new():
                    self._incr(count.key, tags=count.tags, amount=new)


DestinationState: TypeAlias = Literal["open", "backing_off", "paused", "throttled"]


# From the best to the worst.
_STATES: tuple[DestinationState, ...] = ("open", "throttled", "backing_off", "paused")


@dataclass(frozen=True, slots=True)
class DestinationStatus:
    """Counts since the process started; ``pending`` envelopes are held now.

    ``reason`` says, for a person, why the destination is not open; it is empty when it is.
    ``keeps_back`` are offsets, by ``topic/partition``, of messages that wait in a worker because a
    destination that shares it is not open.
    """

    name: str
    state: DestinationState
    accepted: int
    retried: int
    dropped: int
    pending: int
    reason: str
    required: bool = True
    keeps_back: dict[str, list[int]] = field(default_factory=dict)

    def merged_with(self, other: DestinationStatus | None) -> DestinationStatus:
        """Merge with the same destination of another process: add counts, keep the worse state."""
        if other is None:
            return self
        worse = max(other, self, key=lambda status: _STATES.index(status.state))
        keeps_back = dict(other.keeps_back)
        for name, offsets in self.keeps_back.items():
            keeps_back[name] = [*keeps_back.get(name, ()), *offsets]
        return replace(
            worse,
            accepted=self.accepted + other.accepted,
            retried=self.retried + other.retried,
            dropped=self.dropped + other.dropped,
            pending=self.pending + other.pending,
            keeps_back=keeps_back,
        )


class Ledger:
    """A destination's counts since the start. Only the loop's driver changes them."""

    def __init__(self, destination: str, incr: Incr, clock: Callable[[], float]) -> None:
        self.retried = 0
        self.dropped = 0
        self.ambiguous = 0
        self.pending = 0
        self.pending_bytes = 0
        self._tags = {"destination": destination}
        self._counts = PeriodicCounts(incr, clock)
        self.requests = self._counts.count("internal.sent_requests", self._tags)
        self.accepted_envelopes = self._counts.count("capture.accepted", self._tags)
        self.report_if_due = self._counts.report_if_due
        self.report = self._counts.report

    @property
    def accepted(self) -> int:
        """Envelopes that the destination accepted."""
        return self.accepted_envelopes.total

    def count_retried(self, cause: str) -> None:
        self.retried += 1
        self._counts.add("capture.retried", {**self._tags, "cause": cause})

    def count_rejected(self, status: int) -> None:
        self._counts.add("capture.rejected", {**self._tags, "status": str(status)})

    def count_dropped(self, reason: str) -> None:
        self.dropped += 1
        self._counts.add("capture.dropped", {**self._tags, "reason": reason})

    def count_ambiguous(self) -> None:
        self.ambiguous += 1
        self._counts.add("capture.ambiguous", self._tags)

    def count_throttled(self) -> None:
        self._counts.add("capture.throttled", self._tags)

    def count_pause(self, status: int | str) -> None:
        self._counts.add("capture.paused", {**self._tags, "status": str(status)})


# A slot is two words: the hash of an id, and where it was sent from.
_SLOTS: Final = 2**18
_EVEN: Final = 2 * _SLOTS - 2
# The second word is a place; of an id that was sent from two, the last digits of both.
_DIGITS: Final = 30
_HAS_TWO: Final = 2**62
_CAME_BACK: Final = 2**61
#: A message's place is its offset plus this, times its partition. The golden section of the digits
#: keeps the places of partitions apart that are about equally long.
PLACES_APART: Final = 663_608_941


class SentIds:
    """The ids of the events that were sent lately, and the place that each was read at.

    One for all workers of a run: a message may come to any of them. It takes 4 MiB; a newer id
    replaces an older one. Workers write without a lock: at worst one note is lost.

    An id may be sent from two places: a client that got no answer sends its event again. At a
    third one it has come back. The first two are sent however often they are read, so that no
    redelivery is taken for that.
    """

    def __init__(self) -> None:
        self._array = get_context("spawn").RawArray("q", 2 * _SLOTS)
        self._open()

    def _open(self) -> None:
        self._words = memoryview(self._array).cast("B").cast("q")
        #: The ids that this process has seen come back, each once.
        self.came_back = 0

    def __getstate__(self) -> object:
        return self._array

    def __setstate__(self, array: Any) -> None:
        self._array = array
        self._open()

    def has_come_back(self, envelope: Envelope, place: int, salt: int = 0) -> bool:
        """Note an envelope that is about to be sent; True if it has come back: do not send it.

        Of several topics, which may have an id each, every one has its own ``salt``.
        """
        event_id = envelope.event_id
        if event_id is None:
            return False
        # All workers have one seed: see ``WorkerProcess``.
        project_id = envelope.project_id
        # One with destinations of its own may have another's ids.
        number = salt ^ hash(event_id if project_id is None else (event_id, project_id))
        slot = number & _EVEN
        words = self._words
        if words[slot] != number:
            words[slot] = number
            words[slot + 1] = place
            return False
        return self._is_third(envelope, slot + 1, place)

    def _is_third(self, envelope: Envelope, slot: int, place: int) -> bool:
        # What belongs to an event, and each segment of a replay, has the id of the whole.
        if not any(item.type in EVENTS for item in envelope.items):
            return False
        word, digits = self._words[slot], (1 << _DIGITS) - 1
        if not word & _HAS_TWO:
            if word != place:
                second = (place & digits) << _DIGITS
                self._words[slot] = _HAS_TWO | second | word & digits
            return False
        if place & digits in (word & digits, word >> _DIGITS & digits):
            return False
        if not word & _CAME_BACK:
            self._words[slot] = word | _CAME_BACK
            self.came_back += 1
        return True


def drop_pending(status: DestinationStatus) -> DestinationStatus:
    """The last status of a destination that nothing waits for: what is pending is dropped."""
    if not status.pending:
        return status
    tags = {"destination": status.name, "reason": "shutdown"}
    incr("capture.dropped", amount=status.pending, tags=tags)
    log.warning("best_effort_dropped", destination=status.name, count=status.pending)
    return replace(status, dropped=status.dropped + status.pending, pending=0)
