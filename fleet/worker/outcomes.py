"""How many messages ended in which way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fleet.metrics import incr


@dataclass(slots=True)
class Outcomes:
    """Counts of settled messages since the start: for the summary, the live line, the metrics."""

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
