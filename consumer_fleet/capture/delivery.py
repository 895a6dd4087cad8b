"""The delivery of one envelope to several destinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.gate import Parcel, Recipient
from consumer_fleet.capture.held import Held
from consumer_fleet.errors import RejectedMessage


class CaptureRecipient(Recipient, Protocol):
    """A recipient of captured envelopes, which may have two destinations."""

    def accepted(self, number: int, destination: str) -> None:
        """The destination of this role accepted the envelope: at any time, even after `done`."""

    def dropped(self, number: int) -> None:
        """Instead of `done`: no destination takes any of its items, on purpose."""


class Delivery:
    """An envelope on its way to several destinations, or to one that is not required.

    It tells the recipient once the required destinations are done. To them, it is the recipient,
    and their positions among the destinations are the numbers.
    """

    __slots__ = (
        "_destinations",
        "_given_up",
        "_holds",
        "_is_dropped",
        "_number",
        "_open",
        "_recipient",
        "_rejection",
    )

    def __init__(
        self,
        recipient: CaptureRecipient,
        number: int,
        destinations: Sequence[Destination],
        before: Held | None,
    ) -> None:
        self._recipient = recipient
        self._number = number
        self._destinations = destinations
        self._rejection = None if before is None else before.rejected
        self._holds: list[Held] = []
        self._given_up = False
        # Whether all destinations that were asked take none of its items; None if none was asked.
        self._is_dropped: bool | None = None
        # Capturing itself counts as one, so that an answer that comes before all destinations
        # have been asked does not end anything.
        self._open = 1

    @property
    def abandoned(self) -> bool:
        return self._recipient.abandoned

    @property
    def draining(self) -> bool:
        return self._recipient.draining

    @property
    def can_hold(self) -> bool:
        return self._recipient.can_hold

    def asked(self, *, is_dropped: bool) -> None:
        """A destination is asked; ``is_dropped`` if it takes none of the items."""
        self._is_dropped = is_dropped and self._is_dropped is not False

    def expect(self) -> None:
        """A required destination is about to get the envelope."""
        self._open += 1

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        destination = self._destinations[number]
        if rejection is None:
            self._recipient.accepted(self._number, destination.role)
        if destination.required:
            if self._rejection is None:
                self._rejection = rejection
            self.close_one()

    def held(self, _number: int, held: Held) -> None:
        self._holds.append(held)
        self.close_one()

    def given_up(self, _number: int) -> None:
        self._given_up = True
        self.close_one()

    def close_one(self) -> None:
        """A required destination is done, or all destinations have been asked."""
        self._open -= 1
        if self._open:
            return
        if self._given_up:
            self._recipient.given_up(self._number)
        elif self._holds:
            self._recipient.held(self._number, self._merged())
        elif self._is_dropped and self._rejection is None:
            self._recipient.dropped(self._number)
        else:
            self._recipient.done(self._number, self._rejection)

    def _merged(self) -> Held:
        """What the next attempt begins with: the destinations that hold it, and no other."""
        held = max(self._holds, key=lambda each: (each.kind == "unavailable", each.due_s))
        holders = {each.destination for each in self._holds}
        rejection = self._rejection
        return held._replace(
            done=[each.role for each in self._destinations if each.name not in holders],
            left={name: each.left[name] for each in self._holds for name in each.left},
            rejection=None if rejection is None else (rejection.reason, rejection.detail),
        )


def captured_by(parcel: Parcel) -> tuple[Recipient, int]:
    """The recipient of the whole envelope, and its number there."""
    delivery = parcel.recipient
    if isinstance(delivery, Delivery):
        return delivery._recipient, delivery._number
    return delivery, parcel.number
