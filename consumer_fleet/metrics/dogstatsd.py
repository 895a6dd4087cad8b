"""Sends batches to a DogStatsD server, over UDP or a Unix socket."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from consumer_fleet.metrics.outbox import Batch, Series

_LOG_INTERVAL_S = 60.0


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


_throttle = _Throttle(_LOG_INTERVAL_S)


class DogstatsdBackend:
    """One client, used by the sending thread alone. Sending never waits: a full socket drops.

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

        logging.getLogger("datadog.dogstatsd").addFilter(
            _throttle
        )  # adding it twice is adding once
        self._client = DogStatsd(
            host=host,
            port=port,
            socket_path=socket_path,
            namespace=prefix.rstrip(".") or None,
            disable_telemetry=True,
            # The queue and its thread are this program's, and so is what happens at a fork.
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
        merged = {**self._global_tags, **dict(series[1])} if self._global_tags else dict(series[1])
        return [f"{key}:{value}" for key, value in merged.items()]
