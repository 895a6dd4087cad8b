"""Counters, gauges and timings of this process. None of these calls blocks or raises.

``incr`` and its siblings are methods of one `Recorder`, which is inert until the first call and
keeps its counters to itself until `configure_metrics` says where to send them. Names and tags are
declared in ``consumer_fleet.metrics.definitions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from consumer_fleet.metrics.definitions import DEFINITIONS
from consumer_fleet.metrics.outbox import DogstatsdBackend, Snapshot
from consumer_fleet.metrics.recorder import Recorder

recorder = Recorder()

incr = recorder.incr
gauge = recorder.gauge
timing = recorder.timing
distribution = recorder.distribution
timer = recorder.timer
thread_tags = recorder.thread_tags
flush = recorder.flush
snapshot = recorder.snapshot


def configure_metrics(
    *,
    host: str | None = None,
    port: int = 8125,
    socket_path: str | None = None,
    prefix: str = "",
    global_tags: Mapping[str, str] | None = None,
    strict: bool = False,
) -> None:
    """Configure where measurements go; the boot of every process calls it, also of a worker.

    Without ``host`` and ``socket_path`` nothing is sent, and only `snapshot` shows anything. In
    strict mode an undeclared name or tag raises UndeclaredMetric. Opens nothing before the first
    measurement.
    """
    backend = None
    if host is not None or socket_path is not None:
        backend = partial(
            DogstatsdBackend,
            host=host,
            port=port,
            socket_path=socket_path,
            prefix=prefix,
            global_tags=global_tags,
        )
    recorder.configure(backend, strict=strict)


__all__ = [
    "DEFINITIONS",
    "Snapshot",
    "configure_metrics",
    "distribution",
    "flush",
    "gauge",
    "incr",
    "recorder",
    "snapshot",
    "thread_tags",
    "timer",
    "timing",
]
