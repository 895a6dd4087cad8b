"""Lets arroyo measure into this program's metrics, under the prefix ``consumer.``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

import structlog
from arroyo.utils.metric_defs import MetricName
from arroyo.utils.metrics import Metrics, configure_metrics, get_metrics

from consumer_fleet.metrics.recorder import explodes_cardinality

if TYPE_CHECKING:
    from consumer_fleet.metrics.definitions import Kind
    from consumer_fleet.metrics.recorder import Recorder
log = structlog.get_logger(__name__)

PREFIX = "consumer."
ARROYO_METRICS: frozenset[str] = frozenset(get_args(MetricName))


class ArroyoMetrics(Metrics):
    """Arroyo's metrics protocol over a `Recorder`; ``tags`` go with all, arroyo's own win.

    A name that arroyo does not declare is logged once and dropped: a bug of arroyo's is no reason
    to stop a consumer, not even in strict mode.
    """

    def __init__(self, recorder: Recorder, tags: Mapping[str, str] | None = None) -> None:
        self._recorder = recorder
        self._tags = dict(tags or {})
        self._unknown: set[str] = set()

    def increment(
        self, name: MetricName, value: float = 1, tags: Mapping[str, str] | None = None
    ) -> None:
        self._record("counter", name, value, tags)

    def gauge(self, name: MetricName, value: float, tags: Mapping[str, str] | None = None) -> None:
        self._record("gauge", name, value, tags)

    def timing(self, name: MetricName, value: float, tags: Mapping[str, str] | None = None) -> None:
        self._record("timing", name, value, tags)

    def _record(self, kind: Kind, name: str, value: float, tags: Mapping[str, str] | None) -> None:
        if name not in ARROYO_METRICS:
            if name not in self._unknown:
                self._unknown.add(name)
                log.error("arroyo_metric_not_declared", metric=name)
            return
        merged = {**self._tags, **{_safe_key(key): tag for key, tag in (tags or {}).items()}}
        self._recorder.record_declared_elsewhere(kind, PREFIX + name, value, merged)


def _safe_key(key: str) -> str:
    """``broker_id`` becomes ``broker``: arroyo's ids (of brokers, partitions) have few values."""
    return key.removesuffix("_id") if explodes_cardinality(key) else key


def install(recorder: Recorder, tags: Mapping[str, str] | None = None) -> bool:
    """Make arroyo measure into ``recorder``; False where something is installed already.

    Call it before any consumer or strategy is made: they take the metrics at construction.
    """
    if type(get_metrics()).__name__ != "DummyMetricsBackend":
        return False
    configure_metrics(ArroyoMetrics(recorder, tags))
    return True
