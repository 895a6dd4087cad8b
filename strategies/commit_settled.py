"""The last step: commits what is settled."""

from __future__ import annotations

from arroyo.processing.strategies import CommitOffsets
from arroyo.types import Commit, Message

from consumer_fleet.strategies.run_in_workers import Settled
from consumer_fleet.worker.holding import Holding


class CommitSettled(CommitOffsets):
    """Arroyo's step, which first ends the held messages whose dead letters are stored: the commit
    stays at the oldest message that is held.
    """

    def __init__(self, commit: Commit, holding: Holding | None) -> None:
        super().__init__(commit)
        self._holding = holding

    def submit(self, message: Message[Settled]) -> None:
        if self._holding is not None:
            for entry in message.payload.ended:
                self._holding.stored(entry)
        super().submit(message)
