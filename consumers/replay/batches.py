"""What is replayed of a source: how much of it, how fast, and what is changed in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Final

from consumers.replay.pace import paced
from consumers.replay.source import Pair, Source, at_most
from fleet.errors import FleetError, RecordingError
from fleet.kafka.chunk import Record

# How far is looked ahead, as far as there are so many.
_AHEAD_MESSAGES: Final = 100_000
_AHEAD_BYTES: Final = 32 * 1024 * 1024


def batches_of(
    source: Source,
    *,
    limit: int | None,
    speed: float | None,
    check: Callable[[Pair], None] | None,
    rewrite: Callable[[Record], Record] | None,
) -> Iterator[list[Pair]] | None:
    """None where there is no message. An empty batch means: nothing now. Raises what the source
    raises, after what came before, and what ``check`` raises of a message: here, if it is one of
    the first 100,000 or 32 MiB.
    """
    read = source.batches()
    first = next(filter(None, read), None)
    if first is None:
        return None
    batches: Iterator[list[Pair]] = chain((first,), read)
    if limit is not None:
        batches = at_most(limit, batches)
    if check is not None:
        batches = iter(_Checked(batches, check))
    if speed is not None:
        batches = paced(batches, speed)
    if rewrite is not None:
        # Last, so that a shifted time is the one at which a paced message is sent.
        batches = ([(index, rewrite(record)) for index, record in batch] for batch in batches)
    return batches


def latest_ms(source: Source, limit: int | None) -> int | None:
    """The latest timestamp of what ``batches_of`` gives. Blocks: the source is read for it.

    Of a topic with a limit, it is the latest of all that may be among the first.
    """
    latest: int | None = None
    # Where a recording ends before its end is said once what is readable was replayed.
    with suppress(RecordingError):
        for batch in source.candidates(limit):
            times = [latest, *(record.timestamp_ms for _, record in batch)]
            latest = max((each for each in times if each is not None), default=None)
    return latest


class _Checked:
    """The batches as they are; the first of them are checked before the first is given."""

    def __init__(self, batches: Iterator[list[Pair]], check: Callable[[Pair], None]) -> None:
        self._batches = batches
        self._check = check
        self._failure: FleetError | None = None
        self._ahead = deque(self._look_ahead())
        for batch in self._ahead:
            for pair in batch:
                check(pair)

    def _look_ahead(self) -> Iterator[list[Pair]]:
        held = held_bytes = 0
        try:
            for batch in self._batches:
                yield batch
                held += len(batch)
                held_bytes += sum(record.size for _, record in batch)
                if held >= _AHEAD_MESSAGES or held_bytes >= _AHEAD_BYTES:
                    return
        except FleetError as error:
            # What came before it is replayed.
            self._failure = error

    def __iter__(self) -> Iterator[list[Pair]]:
        while self._ahead:
            yield self._ahead.popleft()
        if self._failure is not None:
            raise self._failure
        for batch in self._batches:
            for number, pair in enumerate(batch):
                try:
                    self._check(pair)
                except FleetError:
                    yield batch[:number]
                    raise
            yield batch
