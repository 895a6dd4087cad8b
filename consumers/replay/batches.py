"""What is replayed of a source: how much of it, how fast, and what is changed in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from consumers.replay.pace import paced
from consumers.replay.source import Pair, Source
from fleet.kafka.chunk import Record


def batches_of(
    source: Source,
    *,
    limit: int | None,
    speed: float | None,
    rewrite: Callable[[Record], Record] | None,
) -> Iterator[list[Pair]]:
    """An empty batch means: nothing now. Raises what the source raises, after what came before."""
    batches = source.batches()
    if limit is not None:
        batches = _at_most(limit, batches)
    if speed is not None:
        batches = paced(batches, speed)
    if rewrite is not None:
        # Last, so that a shifted time is the one at which a paced message is sent.
        batches = ([(index, rewrite(record)) for index, record in batch] for batch in batches)
    return batches


def _at_most(limit: int, batches: Iterator[list[Pair]]) -> Iterator[list[Pair]]:
    left = limit
    for batch in batches:
        yield batch[:left]
        left -= len(batch[:left])
        if not left:
            return
