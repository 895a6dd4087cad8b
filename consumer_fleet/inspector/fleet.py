"""The fleet view's data: consumers, destinations, partitions and workers at a moment, and an hour
of their figures.

``consumer run`` fills it from what the process knows, ``consumer status --serve`` from what Kafka
knows; what a source does not know is None. ``fleet_server`` serves it.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

# 0: as it should be; 1: a person may want to know; 2: messages don't move.
Severity: TypeAlias = Literal[0, 1, 2]

BUCKET_S: Final = 10
_BUCKETS: Final = 3600 // BUCKET_S
#: The plotted figures of a row, in the order of the samples.
SERIES: Final = (
    "lag",
    "rate",
    "delivered",
    "filtered",
    "retried",
    "dead_lettered",
    "oldest_s",
    "time_to_loss_s",
    "severity",
)
_SEVERITY: Final = SERIES.index("severity")


@dataclass(frozen=True, slots=True)
class HeldBack:
    """The message that keeps a partition's commit where it is, and why. ``since_s`` is the time
    that it has waited so far.
    """

    offset: int
    destination: str | None
    answer: str
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class PartitionView:
    """``committed`` is the offset of the last commit, ``held`` the messages that others passed."""

    index: int
    committed: int | None
    end: int | None
    lag: int | None
    held: int = 0
    oldest_s: float | None = None
    time_to_loss_s: float | None = None
    owner: str | None = None
    held_back: HeldBack | None = None


@dataclass(frozen=True, slots=True)
class DestinationView:
    """Counts are since the start of the process, and of all its consumers; ``delivered`` is in
    envelopes.
    """

    name: str
    state: str
    severity: Severity
    cause: str | None
    delivered: int
    retried: int
    dropped: int


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """One group on one topic. ``causes`` say why the state is not as it should be."""

    name: str
    topic: str
    group: str
    state: str
    severity: Severity
    causes: tuple[str, ...]
    lag: int | None
    rate: float | None
    delivered: int | None = None
    filtered: int | None = None
    dead_lettered: int | None = None
    oldest_s: float | None = None
    time_to_loss_s: float | None = None
    destinations: tuple[DestinationView, ...] = ()
    partitions: tuple[PartitionView, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerView:
    """``messages`` are those that it has; ``pid`` is None while it is not running."""

    number: int
    pid: int | None
    state: str
    severity: Severity
    cause: str | None
    messages: int


@dataclass(frozen=True, slots=True)
class FleetView:
    """``at_s`` is in seconds since 1970. ``problem`` says why nothing newer is known."""

    at_s: float
    consumers: tuple[ConsumerView, ...]
    workers: tuple[WorkerView, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of each row in one bucket of time, in the order of ``SERIES``."""

    bucket: int
    rows: dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Published:
    number: int
    view: FleetView
    sample: Sample


class FleetBoard:
    """Keeps the latest view, and an hour of samples. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[Sample] = deque(maxlen=_BUCKETS)
        self._latest: Published | None = None

    @property
    def latest(self) -> Published | None:
        return self._latest

    def history(self) -> list[Sample]:
        """The samples so far, the oldest first."""
        with self._lock:
            return list(self._samples)

    def publish(self, view: FleetView) -> None:
        """Called about once per second. Never blocks for long."""
        sample = _sample(view)
        with self._lock:
            last = self._samples[-1] if self._samples else None
            if last is not None and last.bucket == sample.bucket:
                _keep_worst(sample, last)
                self._samples.pop()
            self._samples.append(sample)
            number = 1 if self._latest is None else self._latest.number + 1
            self._latest = Published(number, view, sample)


def row_key(consumer: ConsumerView, destination: DestinationView | None) -> str:
    """Identifies a row of the page across views."""
    parts = [consumer.group, consumer.topic, "" if destination is None else destination.name]
    return "/".join(parts)


def _delivered(
    view: FleetView, consumer: ConsumerView, destination: DestinationView | None
) -> int | None:
    """What the destination has accepted, unless it is shared: then what the consumer delivered."""
    is_shared = len(view.consumers) > 1
    if destination is None or (is_shared and consumer.delivered is not None):
        return consumer.delivered
    return destination.delivered


def _sample(view: FleetView) -> Sample:
    rows = {}
    for consumer in view.consumers:
        for each in consumer.destinations or (None,):
            worst = consumer.severity if each is None else max(consumer.severity, each.severity)
            rows[row_key(consumer, each)] = [
                consumer.lag,
                None if consumer.rate is None else round(consumer.rate, 2),
                _delivered(view, consumer, each),
                consumer.filtered,
                None if each is None else each.retried,
                consumer.dead_lettered,
                None if consumer.oldest_s is None else round(consumer.oldest_s, 1),
                None if consumer.time_to_loss_s is None else round(consumer.time_to_loss_s),
                worst,
            ]
    return Sample(int(view.at_s // BUCKET_S), rows)


def _keep_worst(sample: Sample, earlier: Sample) -> None:
    """Of the same bucket: a short trouble stays visible."""
    for key, values in sample.rows.items():
        before = earlier.rows.get(key)
        if before is not None:
            values[_SEVERITY] = max(values[_SEVERITY] or 0, before[_SEVERITY] or 0)


# -- lag that grows --------------------------------------------------------------------------------

_SAMPLES: Final = 3
_FEW: Final = 10


class LagTrend:
    """Tells lag that grows from the waiting messages that every consumer has."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def note(self, at_s: float, lag: int | None, rate: float | None) -> float | None:
        """Return how fast messages arrive, per second, if the lag grows: it is more than in the
        two samples before, and a second's work has ended it neither now nor before. None if it
        does not.
        """
        if lag is None:
            self._seen.clear()
            return None
        self._seen.append((at_s, lag))
        if len(self._seen) < _SAMPLES:
            return None
        (first_s, first), (_, before), _ = self._seen
        if lag <= max(first, before) or before <= max(rate or 0.0, _FEW) or at_s <= first_s:
            return None
        return (lag - first) / (at_s - first_s) + (rate or 0.0)
