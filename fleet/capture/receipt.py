"""How the pipeline learns what became of an envelope."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from fleet.errors import RejectedMessage


class Receipt(Protocol):
    """What the pipeline gives along with an envelope. Called by the thread that drives delivery."""

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits any more: what is not sent yet need not be."""

    def accepted(self, destination: str) -> None:
        """One destination took the envelope: at most once per destination, any time.

        Best-effort destinations may do so after `settled`.
        """

    def settled(self, rejection: RejectedMessage | None) -> None:
        """Every required destination is done: exactly once. None means delivered."""


class Delivery:
    """One captured envelope: settles its receipt once the required destinations are done."""

    # One for all: it is held for a few instructions, and own events are rare.
    _lock = threading.Lock()

    def __init__(self, receipt: Receipt | None, on_settled: Callable[[], None]) -> None:
        self._receipt = receipt
        self._on_settled = on_settled
        self._rejection: RejectedMessage | None = None
        # Capturing itself counts as one, so that an answer that comes before all destinations
        # have been asked does not settle anything.
        self._open = 1

    def is_abandoned(self) -> bool:
        """Own events have no receipt and are never given up."""
        return self._receipt is not None and self._receipt.abandoned

    def expect(self) -> None:
        """A required destination is about to get the envelope."""
        with self._lock:
            self._open += 1

    def done(self, destination: str, required: bool, rejection: RejectedMessage | None) -> None:
        """A destination is done with the envelope."""
        if rejection is None and self._receipt is not None:
            self._receipt.accepted(destination)
        if not required:
            return
        if self._rejection is None:
            self._rejection = rejection
        self._close_one()

    def all_asked(self) -> None:
        """Every destination that is to get the envelope has it."""
        self._close_one()

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1
            is_settled = self._open == 0
        if is_settled:
            self._on_settled()
            if self._receipt is not None:
                self._receipt.settled(self._rejection)
