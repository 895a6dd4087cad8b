"""The heartbeat file of ``--healthcheck-file``: fresh while the run loop and its work get on.

It is touched from the run loop, whether or not partitions are assigned: a standby is healthy. It
stops being touched when the loop stops, and when an assigned partition has lag but has not moved
for ``stall_timeout_s`` without a known cause. A destination that refuses, or a dead letter topic
that does, is a known cause: it is reported elsewhere, and a restart would not mend it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic

import structlog
from arroyo.types import Partition

log = structlog.get_logger(__name__)

TOUCH_INTERVAL_S = 1.0


class ProgressWatch:
    """Finds assigned partitions that have lag and do not move."""

    def __init__(self, stall_timeout_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock
        self._seen: dict[Partition, tuple[int, float]] = {}

    def stalled(self, lag: Mapping[Partition, int], settled: Mapping[Partition, int]) -> list[str]:
        """Names of stalled partitions. Call regularly, with the lag and the settled offsets."""
        now = self._clock()
        self._seen = {p: seen for p, seen in self._seen.items() if p in settled}
        stalled = []
        for partition, offset in settled.items():
            seen = self._seen.get(partition)
            if seen is None or seen[0] != offset or lag.get(partition, 0) == 0:
                self._seen[partition] = (offset, now)
            elif now - seen[1] > self._stall_timeout_s:
                stalled.append(f"{partition.topic.name}/{partition.index}")
        return stalled

    def excuse(self) -> None:
        """Time spent waiting for a known cause does not count."""
        now = self._clock()
        self._seen = {partition: (offset, now) for partition, (offset, _) in self._seen.items()}


class Heartbeat:
    """Touches the file at most once per ``TOUCH_INTERVAL_S``."""

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._clock = clock
        self._due = 0.0
        self._stalled: list[str] = []

    def beat(self, stalled: list[str]) -> None:
        """Called at each turn of the run loop with the partitions that are stalled, if any."""
        if stalled != self._stalled:
            self._stalled = stalled
            log.error("partitions_stalled", partitions=stalled) if stalled else log.info("moving")
        now = self._clock()
        if stalled or now < self._due:
            return
        self._due = now + TOUCH_INTERVAL_S
        try:
            self._path.touch()
        except OSError as error:
            log.error("heartbeat_not_written", path=str(self._path), why=error.strerror)
