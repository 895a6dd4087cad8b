"""The bounded queue between the threads that measure and the one thread that sends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import structlog

from consumer_fleet.metrics.definitions import Kind

log = structlog.get_logger(__name__)

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
Measurement: TypeAlias = tuple[Kind, Series, float, float]

_DROPPED: Series = ("metrics.dropped", ())
_EXIT_FLUSH_TIMEOUT_S = 2.0
_COMPLAINT_INTERVAL_S = 60.0


@dataclass(slots=True)
class Batch:
    """What is sent in one go: summed counters, last gauges, and every timing and distribution.

    ``samples`` holds (kind, series, value, sample rate); the backend does the sampling.
    """

    counters: dict[Series, float] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)
    samples: list[Measurement] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.counters or self.gauges or self.samples)


class Backend(Protocol):
    """Where batches go. Made, called and closed in the sending thread only."""

    def send(self, batch: Batch) -> None:
        """Send what can be sent without waiting long. What it raises is logged, and not retried."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of this process's counters and gauges, without the global tags."""

    counters: Mapping[Series, float]
    gauges: Mapping[Series, float]

    def total(self, name: str, **tags: str) -> float:
        """The sum of the counter's series that carry all of ``tags``."""
        wanted = set(tags.items())
        return sum(
            amount
            for (series_name, series_tags), amount in self.counters.items()
            if series_name == name and wanted.issubset(series_tags)
        )


class Outbox:
    """Takes measurements without blocking, sums them up, and sends them every ``interval_s``.

    Without a backend there is no thread: whoever fills half the queue sums it up in passing.
    """

    def __init__(
        self,
        open_backend: Callable[[], Backend] | None,
        *,
        interval_s: float = 1.0,
        capacity: int = 100_000,
    ) -> None:
        self._open_backend = open_backend
        self._interval_s = interval_s
        self._capacity = capacity
        self._half = max(1, capacity // 2)
        self._hooked = False
        self._complained_at: float | None = None
        self._reset()

    def _reset(self) -> None:
        """The state of a new process: no thread, nothing measured, locks that nobody holds."""
        self._queue: deque[Measurement] = deque()
        self._lock = threading.Lock()  # guards everything below but the queue, which needs none
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = False
        self._closing = False
        self._dropped = 0
        self._pending = Batch()
        self._counters: dict[Series, float] = {}
        self._gauges: dict[Series, float] = {}
        self._flushes: list[threading.Event] = []

    def put(self, measurement: Measurement) -> None:
        """Queue one measurement. Never blocks on I/O; drops and counts when the queue is full."""
        queue = self._queue
        if not self._started:
            self._start()
        if len(queue) >= self._capacity:
            with self._lock:
                self._dropped += 1
            return
        queue.append(measurement)
        if len(queue) >= self._half:
            if self._open_backend is None:
                self._fold()
            elif not self._wake.is_set():
                self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        """Block until what was put before is sent; False if it was not in time."""
        if self._thread is None:
            return True
        done = threading.Event()
        with self._lock:
            self._flushes.append(done)
        self._wake.set()
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Send the rest and end the thread; False if that took longer than ``timeout_s``."""
        self._closing = True
        thread = self._thread
        if thread is None:
            return True
        self._wake.set()
        thread.join(timeout_s)
        return not thread.is_alive()

    def snapshot(self) -> Snapshot:
        self._fold()
        with self._lock:
            return Snapshot(dict(self._counters), dict(self._gauges))

    def _start(self) -> None:
        """Start the thread, once, however many threads come here first."""
        with self._lock:
            if self._started or self._closing:
                return
            self._hook_into_process()
            self._started = True
            if self._open_backend is None:
                return
            thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is going down: nothing can be sent
                self._complain("metrics_thread_not_started", error)
            else:
                self._thread = thread

    def _hook_into_process(self) -> None:
        # multiprocessing clears its finalizers in a child, so this one is set in every process.
        # A forked multiprocessing child ends with os._exit, which skips atexit.
        if "multiprocessing.util" in sys.modules:
            from multiprocessing.util import Finalize  # noqa: PLC0415 - only where it is in use

            Finalize(None, _flush_at_exit, args=(weakref.ref(self),), exitpriority=0)
        if self._hooked:
            return
        self._hooked = True
        itself = weakref.ref(self)
        atexit.register(_flush_at_exit, itself)
        os.register_at_fork(after_in_child=lambda: _reset_in_child(itself))

    def _run(self) -> None:
        backend: Backend | None = None
        while True:
            if backend is None:
                backend = self._opened()
            self._wake.wait(self._interval_s)
            self._wake.clear()
            closing = self._closing
            with self._lock:
                flushes, self._flushes = self._flushes, []
            batch = self._taken()
            if backend is not None and batch:
                self._send(backend, batch)
            for done in flushes:
                done.set()
            if closing:
                break
        if backend is not None:
            backend.close()

    def _opened(self) -> Backend | None:
        assert self._open_backend is not None
        try:
            return self._open_backend()
        except Exception as error:  # foreign code: metrics never stop what is measured
            self._complain("metrics_backend_not_opened", error)
            return None

    def _send(self, backend: Backend, batch: Batch) -> None:
        try:
            backend.send(batch)
        except Exception as error:  # foreign code: metrics never stop what is measured
            self._complain("metrics_not_sent", error)

    def _complain(self, event: str, error: Exception) -> None:
        now = time.monotonic()
        if self._complained_at is None or now - self._complained_at >= _COMPLAINT_INTERVAL_S:
            self._complained_at = now
            log.error(event, error=repr(error))

    def _taken(self) -> Batch:
        """Sum up the queue and take what is to be sent."""
        self._fold()
        with self._lock:
            batch, self._pending = self._pending, Batch()
        return batch

    def _fold(self) -> None:
        """Sum up the queue into what is to be sent and into the totals."""
        with self._lock:
            queue, batch = self._queue, self._pending
            # Not "while queue": with busy callers that might never end.
            for _ in range(len(queue)):
                kind, series, value, sample_rate = queue.popleft()
                if kind == "counter":
                    self._count(batch, series, value)
                elif kind == "gauge":
                    batch.gauges[series] = self._gauges[series] = value
                elif self._open_backend is not None:
                    if len(batch.samples) < self._capacity:
                        batch.samples.append((kind, series, value, sample_rate))
                    else:  # the backend hangs while `snapshot` goes on emptying the queue
                        self._dropped += 1
            if self._dropped:
                self._count(batch, _DROPPED, self._dropped)
                self._dropped = 0
            if self._open_backend is None:
                self._pending = Batch()

    def _count(self, batch: Batch, series: Series, amount: float) -> None:
        batch.counters[series] = batch.counters.get(series, 0) + amount
        self._counters[series] = self._counters.get(series, 0) + amount


def _flush_at_exit(outbox: weakref.ref[Outbox]) -> None:
    alive = outbox()
    if alive is not None:
        alive.flush(_EXIT_FLUSH_TIMEOUT_S)


def _reset_in_child(outbox: weakref.ref[Outbox]) -> None:
    alive = outbox()
    if alive is not None:
        # What the parent had queued is the parent's to send; its thread does not exist here.
        alive._reset()
