"""The calls that measure: they check names, tags and values, then add to the outbox."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import TypeAlias, get_args

import structlog

from consumer_fleet.metrics.definitions import DEFINITIONS, Kind, Metric, UndeclaredMetric, index
from consumer_fleet.metrics.outbox import MetricsBackend, Outbox, Series, Snapshot

log = structlog.get_logger(__name__)

TagValue: TypeAlias = str | int | float
Tags: TypeAlias = Mapping[str, TagValue]

_EXPLODING_TAGS = frozenset({"event", "project", "group"})
_EXPLODING_SUFFIX = "_id"
_ALWAYS_ALLOWED_TAGS = frozenset({"instance", "result"})  # those that this module sets itself
# Above it the cache of checked series starts over; it never limits the series themselves.
_CHECKED_SERIES_MAX = 10_000


def explodes_cardinality(tag: str) -> bool:
    """Whether a tag of this name would have about as many values as there are messages."""
    return tag in _EXPLODING_TAGS or tag.endswith(_EXPLODING_SUFFIX)


class _ThreadTags(threading.local):
    tags: Mapping[str, TagValue] | None = None  # read through the class: cheaper than a getattr


class Recorder:
    """Records measurements. No method blocks but `flush`, and none raises unless ``strict``.

    Threads may share one. It is inert until the first measurement, which starts the one daemon
    thread that sends (none without a backend). A forked child starts its own, and sends nothing
    that its parent had measured; a spawned child configures its own.
    """

    def __init__(self, definitions: Iterable[Metric] = DEFINITIONS) -> None:
        self._declared = index(definitions)
        self._strict = False
        self._outbox = Outbox(None)
        self._thread_tags = _ThreadTags()
        self._checked: dict[tuple[str, Kind, tuple[tuple[str, TagValue], ...]], Series | None] = {}
        self._reported: set[str] = set()

    def configure(
        self,
        backend: Callable[[], MetricsBackend] | None = None,
        *,
        strict: bool = False,
        interval_s: float = 1.0,
        samples_max: int = 100_000,
    ) -> None:
        """Send to ``backend`` from now on; None keeps counters for `snapshot` and sends nothing.

        ``backend`` is called in the sending thread, so it may import slowly. ``strict`` raises
        UndeclaredMetric for measurements that are otherwise logged once and dropped; it is meant
        for tests. Earlier measurements go to the earlier backend; may block for 2 s.
        """
        previous = self._outbox
        self._strict = strict
        self._checked = {}
        self._outbox = Outbox(backend, interval_s=interval_s, capacity=samples_max)
        previous.close(timeout_s=2.0)

    @property
    def sends(self) -> bool:
        """Whether there is a backend: without one, timings and distributions go nowhere."""
        return self._outbox.sends

    def incr(
        self,
        key: str,
        instance: str | None = None,
        tags: Tags | None = None,
        amount: float = 1,
        sample_rate: float = 1.0,
    ) -> None:
        """Add ``amount`` to a counter.

        With a ``sample_rate`` below 1 that share of the calls is kept, each standing for the rest.
        """
        if sample_rate < 1:
            if random.random() >= sample_rate:  # noqa: S311 - a sample, not a secret
                return
            amount /= sample_rate
        self._record("counter", key, instance, tags, amount, 1.0)

    def gauge(
        self, key: str, value: float, instance: str | None = None, tags: Tags | None = None
    ) -> None:
        """Set a gauge; of several values within one sending interval the last one is sent."""
        self._record("gauge", key, instance, tags, value, 1.0)

    def timing(
        self,
        key: str,
        value_s: float,
        instance: str | None = None,
        tags: Tags | None = None,
        sample_rate: float = 1.0,
    ) -> None:
        """Record one duration, in seconds."""
        self._record("timing", key, instance, tags, value_s, sample_rate)

    def distribution(
        self,
        key: str,
        value: float,
        instance: str | None = None,
        tags: Tags | None = None,
        sample_rate: float = 1.0,
    ) -> None:
        """Record one value, for percentiles over all processes."""
        if not self._strict and not self._outbox.sends:
            return
        self._record("distribution", key, instance, tags, value, sample_rate)

    @contextmanager
    def timer(
        self,
        key: str,
        instance: str | None = None,
        tags: Tags | None = None,
        sample_rate: float = 1.0,
    ) -> Iterator[dict[str, TagValue]]:
        """Time the block. Yields tags that the block may change, a copy of ``tags``.

        ``result`` is set to success, or to failure where the block raises, unless the block set it.
        """
        own_tags: dict[str, TagValue] = dict(tags or {})
        start = time.monotonic()
        result = "failure"
        try:
            yield own_tags
            result = "success"
        finally:
            own_tags.setdefault("result", result)
            duration_s = time.monotonic() - start
            self._record("timing", key, instance, own_tags, duration_s, sample_rate)

    @contextmanager
    def thread_tags(self, **tags: TagValue) -> Iterator[None]:
        """Add tags to everything this thread measures within the block; a call's own tags win."""
        before = self._thread_tags.tags
        self._thread_tags.tags = {**(before or {}), **tags}
        try:
            yield
        finally:
            self._thread_tags.tags = before

    def declare(self, metric: Metric) -> None:
        """Allow measurements of this metric, as a plugin does for its own. May be repeated.

        Raises ValueError where the name is declared otherwise, or its kind does not exist.
        """
        if metric.kind not in get_args(Kind):
            raise ValueError(f"metric {metric.name!r}: {metric.kind!r} is not a kind")
        if self._declared.setdefault(metric.name, metric) != metric:
            raise ValueError(f"metric {metric.name!r} is declared twice")
        # A measurement before this was refused, and its refusal kept.
        self._checked = {}

    def record_declared_elsewhere(
        self, kind: Kind, name: str, value: float, tags: Tags | None
    ) -> None:
        """Record a metric of a library; the caller has checked its name against the library's."""
        known = self._declared.get(name)
        if known is None or known.kind != kind:
            self._declared[name] = Metric(name, kind, unit="", meaning="", tags=None)
        self._record(kind, name, None, tags, value, 1.0)

    def flush(self, timeout_s: float) -> bool:
        """Block until all earlier measurements are sent; False if that takes too long."""
        return self._outbox.flush(timeout_s)

    @contextmanager
    def apart(self) -> Iterator[Callable[[], Snapshot]]:
        """Keep the measurements of all threads within the block apart: none of them is sent.

        Yields a function that reads its counters, also after the block. For a replay in a test.
        """
        before = self._outbox
        self._outbox = own = Outbox(None)
        try:
            yield own.snapshot
        finally:
            self._outbox = before

    def snapshot(self) -> Snapshot:
        """The counters of this process since `configure`, and each gauge's last value."""
        return self._outbox.snapshot()

    def _record(
        self,
        kind: Kind,
        name: str,
        instance: str | None,
        tags: Tags | None,
        value: float,
        sample_rate: float,
    ) -> None:
        thread_tags = self._thread_tags.tags
        if thread_tags or instance is not None:
            own = {} if instance is None else {"instance": instance}
            pairs = tuple({**(thread_tags or {}), **own, **(tags or {})}.items())
        else:
            pairs = tuple(tags.items()) if tags else ()
        try:
            series = self._checked[name, kind, pairs]
        except KeyError:
            series = self._check(name, kind, pairs, tags or {})
        except TypeError:  # an unhashable value: a bug of the caller, never a reason to raise
            pairs = tuple((key, str(tag)) for key, tag in pairs)
            series = self._check(name, kind, pairs, tags or {})
        if series is not None and self._is_finite(name, value):
            self._outbox.put(kind, series, value, sample_rate)

    def _is_finite(self, name: str, value: float) -> bool:
        try:
            if isfinite(value):
                return True
        except TypeError:  # no number at all: a bug of the caller, like infinity
            pass
        self._complain(f"metric {name!r}: {value!r} is not a finite number")
        return False

    def _check(
        self, name: str, kind: Kind, pairs: tuple[tuple[str, TagValue], ...], call_tags: Tags
    ) -> Series | None:
        """The series that these tags make, or None where the name is not declared as this kind."""
        metric = self._declared.get(name)
        series: Series | None = None
        if metric is None:
            self._complain(
                f"metric {name!r} is not declared in consumer_fleet/metrics/definitions.py"
            )
        elif metric.kind != kind:
            self._complain(f"metric {name!r} is declared as a {metric.kind}, not as a {kind}")
        else:
            series = (name, tuple(self._kept_tags(metric, pairs, call_tags)))
        if len(self._checked) >= _CHECKED_SERIES_MAX:
            self._checked = {}
        self._checked[name, kind, pairs] = series
        return series

    def _kept_tags(
        self, metric: Metric, pairs: tuple[tuple[str, TagValue], ...], call_tags: Tags
    ) -> Iterator[tuple[str, str]]:
        allowed = call_tags if metric.tags is None else _ALWAYS_ALLOWED_TAGS.union(metric.tags)
        for key, value in pairs:
            if explodes_cardinality(key):
                self._complain(f"metric {metric.name!r}: tag {key!r} has too many values to keep")
            elif key in call_tags and key not in allowed:
                self._complain(f"metric {metric.name!r}: tag {key!r} is not declared")
            else:
                yield key, str(value)

    def _complain(self, problem: str) -> None:
        if self._strict:
            raise UndeclaredMetric(problem)
        if problem not in self._reported:
            self._reported.add(problem)
            log.error("metric_refused", problem=problem)
