"""How much there is to replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arroyo.types import Partition, Topic


@dataclass(frozen=True, slots=True)
class Extent:
    """As far as anybody knows: ``total`` messages, or how much of it all is read, from 0 to 1.

    ``is_settled`` is asked after a signal, of an input that can't say by itself that nothing was
    left.
    """

    total: int | None
    read: Callable[[], float] | None = None
    is_settled: Callable[[], bool] = lambda: False

    def left(self, name: str, settled: int) -> Mapping[Partition, int] | None:
        """What ``Progress`` shows as the lag."""
        if self.total is None:
            return None
        return {Partition(Topic(name), 0): max(0, self.total - settled)}

    def share(self, settled: int) -> float | None:
        """How much is done, from 0 to 1; None where nobody knows."""
        if self.total:
            return min(1.0, settled / self.total)
        return None if self.read is None else min(1.0, self.read())
