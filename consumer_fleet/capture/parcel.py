"""An envelope on its way to a destination, and who waits for it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.capture.held import Held
from consumer_fleet.errors import RejectedMessage


class Recipient(Protocol):
    """The owner of envelopes, which it knows by number. The loop's driver calls it."""

    @property
    def abandoned(self) -> bool:
        """Whether nothing waits for the envelopes any more: they need not be sent."""

    @property
    def draining(self) -> bool:
        """Whether only what can be sent at once is wanted: it is about to be abandoned."""

    @property
    def can_hold(self) -> bool:
        """Whether it takes back what can't be sent for a while, so that others pass."""

    def held(self, number: int, held: Held) -> None:
        """Instead of ``done``: the envelope is limited or refused alone."""

    def given_up(self, number: int) -> None:
        """Instead of ``done``, while ``draining``: it can't be sent now."""

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        """The envelope was accepted, or is rejected for good. Called exactly once."""


class Parcel:
    """An envelope on its way. A partial 429 shrinks ``envelope`` to the items not yet accepted:
    ``left`` are their positions.
    """

    __slots__ = (
        "accepted_before",
        "attempts",
        "envelope",
        "is_probe",
        "left",
        "number",
        "recipient",
        "size_bytes",
        "was_held",
    )

    def __init__(
        self, envelope: Envelope, recipient: Recipient, number: int, size_bytes: int
    ) -> None:
        self.envelope = envelope
        self.recipient = recipient
        self.number = number
        self.size_bytes = size_bytes
        self.attempts = 0
        self.is_probe = False
        self.was_held = False
        self.left: Sequence[int] | None = None
        # The envelopes that the destination had accepted when this one failed first.
        self.accepted_before = 0

    def shrink(self, positions: Sequence[int]) -> None:
        """Leave only the items at these positions."""
        items = self.envelope.items
        self.left = [(self.left or range(len(items)))[position] for position in positions]
        self.envelope = self.envelope._replace(items=tuple(items[each] for each in positions))


class Waiting:
    """Parcels that wait for a backoff or a limit, by when it ends."""

    def __init__(self) -> None:
        # The number breaks ties.
        self._heap: list[tuple[float, int, Parcel]] = []
        self._numbers = itertools.count()
        #: When the first of them ends; inf if there is none.
        self.next_due = math.inf

    def put(self, due: float, parcel: Parcel) -> None:
        heapq.heappush(self._heap, (due, next(self._numbers), parcel))
        self.next_due = self._heap[0][0]

    def take_due(self, now: float) -> list[Parcel]:
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        self._note_next()
        return due

    def take_if(self, is_wanted: Callable[[Parcel], bool]) -> list[Parcel]:
        """Take those out, wherever they are."""
        taken = [parcel for _, _, parcel in self._heap if is_wanted(parcel)]
        if taken:
            self._heap = [entry for entry in self._heap if not is_wanted(entry[2])]
            heapq.heapify(self._heap)
            self._note_next()
        return taken

    def _note_next(self) -> None:
        self.next_due = self._heap[0][0] if self._heap else math.inf
