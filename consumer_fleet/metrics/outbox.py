"""From measurements to a DogStatsD server: summed up here, sent by a thread with datadog's client.

datadog's client can aggregate and send from threads of its own. This outbox exists because of the
promises that the client does not keep:

- Importing it takes longer than the rest of a worker's start. Here it is imported in the sending
  thread, and measurements add up meanwhile.
- Its background sender queues finished packets, which expire after 10 s: while an agent restarts or
  a name server hangs, counters are lost. Here they go on adding up.
- A fork waits for its threads without limit, so for as long as a name server hangs.
- It sends nothing at exit by itself, and its ``stop`` has no upper bound.
- Its sums can't be read. Replays in tests compare `Outbox.snapshot`.

The protocol, full packets and sockets are the client's.

A process that is forked during the import, in the first moments after the first measurement, may
send nothing: the module stays half imported in it. `Outbox.flush` before the fork prevents that.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import structlog

from consumer_fleet.metrics.definitions import Kind

log = structlog.get_logger(__name__)

Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
#: Kind (timing or distribution), series, value, sample rate.
Sample: TypeAlias = tuple[Kind, Series, float, float]

_DROPPED: Series = ("metrics.dropped", ())
_EXIT_FLUSH_TIMEOUT_S = 2.0
_COMPLAINT_INTERVAL_S = 60.0


@dataclass(slots=True)
class Batch:
    """The content of one sending: summed counters, last gauges, every timing and distribution."""

    counters: dict[Series, float] = field(default_factory=dict)
    gauges: dict[Series, float] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.counters or self.gauges or self.samples)


class MetricsBackend(Protocol):
    """Receives batches. Made, called and closed in the sending thread only."""

    def send(self, batch: Batch) -> None:
        """Send without a long wait. An error is logged, and the batch is not retried."""

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
    """Sums up measurements, and sends the sums every ``interval_s`` from one daemon thread.

    However long a backend takes to start or hangs, counters add up and gauges overwrite each other:
    memory is bounded by the number of series. Of timings and distributions it holds ``capacity``;
    more are dropped and counted. Without a backend there is no thread.
    """

    def __init__(
        self,
        open_backend: Callable[[], MetricsBackend] | None,
        *,
        interval_s: float = 1.0,
        capacity: int = 100_000,
    ) -> None:
        self._open_backend = open_backend
        self._interval_s = interval_s
        self._capacity = capacity
        self._hooked = False
        self._complained_at: float | None = None
        self._reset()

    def _reset(self) -> None:
        """The state of a new process: no thread, nothing measured, locks that nobody holds."""
        self._lock = threading.Lock()  # held for a few dictionary accesses, never while sending
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = False
        self._closing = False
        self._pending = Batch()
        self._counters: dict[Series, float] = {}
        self._gauges: dict[Series, float] = {}
        self._flushes: list[threading.Event] = []

    @property
    def sends(self) -> bool:
        """Whether there is a backend."""
        return self._open_backend is not None

    def put(self, kind: Kind, series: Series, value: float, sample_rate: float = 1.0) -> None:
        """Add one measurement. Never waits for the backend."""
        with self._lock:
            if kind == "counter":
                self._count(series, value)
            elif kind == "gauge":
                self._pending.gauges[series] = self._gauges[series] = value
            elif self._open_backend is not None:
                if len(self._pending.samples) < self._capacity:
                    self._pending.samples.append((kind, series, value, sample_rate))
                else:
                    self._count(_DROPPED, 1)
        if not self._started:
            self._start()

    def _count(self, series: Series, amount: float) -> None:
        pending, totals = self._pending.counters, self._counters
        pending[series] = pending.get(series, 0) + amount
        totals[series] = totals.get(series, 0) + amount

    def flush(self, timeout_s: float) -> bool:
        """Block until all earlier measurements are sent; False if that takes too long."""
        if self._thread is None:
            return True
        done = threading.Event()
        with self._lock:
            self._flushes.append(done)
        self._wake.set()
        return done.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Send the rest and end the thread; False if that takes longer than ``timeout_s``."""
        self._closing = True
        thread = self._thread
        if thread is None:
            return True
        self._wake.set()
        thread.join(timeout_s)
        return not thread.is_alive()

    def snapshot(self) -> Snapshot:
        """The counters of this process since the start, and each gauge's last value."""
        with self._lock:
            return Snapshot(dict(self._counters), dict(self._gauges))

    def _start(self) -> None:
        """Start the thread, once, however many threads come here first."""
        with self._lock:
            if self._started or self._closing:
                return
            self._started = True
            self._hook_into_process()
            if self._open_backend is None:
                return
            thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the interpreter is shutting down: nothing can be sent
                self._complain("metrics_thread_not_started", error)
            else:
                self._thread = thread

    def _hook_into_process(self) -> None:
        # multiprocessing clears its finalizers in a child, so this one is set in every process.
        # A forked multiprocessing child ends with os._exit, which skips atexit.
        itself = weakref.ref(self)
        if "multiprocessing.util" in sys.modules:
            from multiprocessing.util import Finalize  # noqa: PLC0415 - only where it is in use

            Finalize(None, _flush_at_exit, args=(itself,), exitpriority=0)
        if not self._hooked:
            self._hooked = True
            atexit.register(_flush_at_exit, itself)
            os.register_at_fork(after_in_child=lambda: _reset_in_child(itself))

    def _run(self) -> None:
        backend: MetricsBackend | None = None
        while True:
            if backend is None:
                backend = self._opened()
            self._wake.wait(self._interval_s)
            self._wake.clear()
            closing = self._closing
            with self._lock:
                flushes, self._flushes = self._flushes, []
                batch = self._pending
                if backend is not None:
                    self._pending = Batch()
            if backend is not None and batch:
                self._send(backend, batch)
            for done in flushes:
                done.set()
            if closing:
                break
        if backend is not None:
            backend.close()

    def _opened(self) -> MetricsBackend | None:
        assert self._open_backend is not None
        try:
            return self._open_backend()
        except Exception as error:  # foreign code: metrics never stop the program
            self._complain("metrics_backend_not_opened", error)
            return None

    def _send(self, backend: MetricsBackend, batch: Batch) -> None:
        try:
            backend.send(batch)
        except Exception as error:  # foreign code: metrics never stop the program
            self._complain("metrics_not_sent", error)

    def _complain(self, event: str, error: Exception) -> None:
        now = time.monotonic()
        if self._complained_at is None or now - self._complained_at >= _COMPLAINT_INTERVAL_S:
            self._complained_at = now
            log.error(event, error=repr(error))


def _flush_at_exit(outbox: weakref.ref[Outbox]) -> None:
    alive = outbox()
    if alive is not None:
        alive.flush(_EXIT_FLUSH_TIMEOUT_S)


def _reset_in_child(outbox: weakref.ref[Outbox]) -> None:
    alive = outbox()
    if alive is not None:
        # The parent's measurements are the parent's to send; its thread does not exist here.
        alive._reset()


class _Throttle(logging.Filter):
    """Lets one record through per interval: datadog logs each packet that it could not send."""

    def __init__(self, interval_s: float) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._passed_at: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if self._passed_at is not None and now - self._passed_at < self._interval_s:
            return False
        self._passed_at = now
        return True


_throttle = _Throttle(_COMPLAINT_INTERVAL_S)


class DogstatsdBackend:
    """datadog's client, for the sending thread alone. Sending never waits: a full socket drops.

    ``global_tags`` go with everything; a measurement's own tag of that name wins. Timings are sent
    as histograms in seconds, since DogStatsD's timers are in milliseconds and servers convert them.
    """

    def __init__(
        self,
        *,
        host: str | None = None,
        port: int = 8125,
        socket_path: str | None = None,
        prefix: str = "",
        global_tags: Mapping[str, str] | None = None,
    ) -> None:
        # Imported here, in the sending thread: it takes longer than the rest of a worker's start.
        from datadog.dogstatsd.base import DogStatsd  # noqa: PLC0415 - see above

        # Adding the same filter twice is adding it once.
        logging.getLogger("datadog.dogstatsd").addFilter(_throttle)
        self._client = DogStatsd(
            host=host,
            port=port,
            socket_path=socket_path,
            namespace=prefix.rstrip(".") or None,
            disable_telemetry=True,
            # Its hooks for a fork are not needed: it has no thread.
            track_instance=False,
        )
        self._global_tags = dict(global_tags or {})

    def send(self, batch: Batch) -> None:
        client = self._client
        with client:  # fills packets up instead of sending one for each line
            for series, amount in batch.counters.items():
                client.increment(series[0], amount, tags=self._tags(series))
            for series, value in batch.gauges.items():
                client.gauge(series[0], value, tags=self._tags(series))
            for kind, series, value, sample_rate in batch.samples:
                report = client.distribution if kind == "distribution" else client.histogram
                report(series[0], value, tags=self._tags(series), sample_rate=sample_rate)

    def close(self) -> None:
        self._client.close_socket()

    def _tags(self, series: Series) -> list[str]:
        return [f"{key}:{value}" for key, value in {**self._global_tags, **dict(series[1])}.items()]
