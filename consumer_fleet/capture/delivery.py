"""The delivery of one envelope to several destinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consumer_fleet.capture.destination import Destination, Recipient
from consumer_fleet.errors import RejectedMessage


class CaptureRecipient(Recipient, Protocol):
    """A recipient of captured envelopes, which may have two destinations."""

    def accepted(self, number: int, destination: str) -> None:
        """One of several destinations accepted the envelope: at any time, even after `done`."""


class Delivery:
    """An envelope on its way to several destinations, or to one that is not required.

    It tells the recipient once the required destinations are done. To them, it is the recipient,
    and their positions among the destinations are the numbers.
    """

    __slots__ = ("_destinations", "_number", "_open", "_recipient", "_rejection")

    def __init__(
        self, recipient: CaptureRecipient, number: int, destinations: Sequence[Destination]
    ) -> None:
        self._recipient = recipient
        self._number = number
        self._destinations = destinations
        self._rejection: RejectedMessage | None = None
        # Capturing itself counts as one, so that an answer that comes before all destinations
        # have been asked does not end anything.
        self._open = 1

    @property
    def abandoned(self) -> bool:
        return self._recipient.abandoned

    def expect(self) -> None:
        """A required destination is about to get the envelope."""
        self._open += 1

    def done(self, number: int, rejection: RejectedMessage | None) -> None:
        destination = self._destinations[number]
        if rejection is None:
            self._recipient.accepted(self._number, destination.name)
        if destination.required:
            if self._rejection is None:
                self._rejection = rejection
            self.close_one()

    def close_one(self) -> None:
        """A required destination is done, or all destinations have been asked."""
        self._open -= 1
        if self._open == 0:
            self._recipient.done(self._number, self._rejection)
