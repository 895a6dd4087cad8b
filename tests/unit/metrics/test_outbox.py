"""The outbox: one thread, bounded memory, no counter lost while the backend starts or hangs."""

from __future__ import annotations

import threading

import pytest

from consumer_fleet.metrics.outbox import Batch, Outbox, Series

JOBS: Series = ("jobs", ())
DEPTH: Series = ("depth", ())
DROPPED: Series = ("metrics.dropped", ())


class StuckBackend:
    """A backend whose `send` waits until ``released`` is set."""

    def __init__(self) -> None:
        self.sending = threading.Event()
        self.released = threading.Event()
        self.batches: list[Batch] = []

    def send(self, batch: Batch) -> None:
        self.sending.set()
        assert self.released.wait(10)
        self.batches.append(batch)

    def close(self) -> None:
        pass


class FailingBackend:
    def __init__(self) -> None:
        self.calls = 0

    def send(self, batch: Batch) -> None:
        self.calls += 1
        raise OSError("no route to host")

    def close(self) -> None:
        pass


def test_threads_that_race_for_the_first_measurement_start_one_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Starting takes a while, so that each thread comes while another one is at it.
    monkeypatch.setattr("atexit.register", lambda *_: threading.Event().wait(0.1))
    backend = StuckBackend()
    backend.released.set()
    opened: list[threading.Thread] = []

    def open_backend() -> StuckBackend:
        opened.append(threading.current_thread())
        return backend

    outbox = Outbox(open_backend, interval_s=60)
    threads = [threading.Thread(target=outbox.put, args=("counter", JOBS, 1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outbox.close(5)
    assert len(opened) == 1
    assert sum(batch.counters[JOBS] for batch in backend.batches) == 4


def test_counters_and_gauges_add_up_while_a_backend_hangs() -> None:
    backend = StuckBackend()
    outbox = Outbox(lambda: backend, interval_s=60, capacity=10)
    outbox.put("counter", JOBS, 1)
    assert not outbox.flush(0.0)
    assert backend.sending.wait(5)
    for value in range(1000):
        outbox.put("counter", JOBS, 1)
        outbox.put("gauge", DEPTH, value)

    backend.released.set()

    assert outbox.flush(5)
    assert [batch.counters for batch in backend.batches] == [{JOBS: 1}, {JOBS: 1000}]
    assert backend.batches[-1].gauges == {DEPTH: 999}
    assert outbox.snapshot().counters == {JOBS: 1001}


def test_counters_add_up_until_the_backend_has_started() -> None:
    backend = StuckBackend()
    backend.released.set()
    started = threading.Event()

    def open_backend() -> StuckBackend:
        assert started.wait(5)
        return backend

    outbox = Outbox(open_backend, interval_s=60)
    for _ in range(1000):
        outbox.put("counter", JOBS, 1)
    started.set()
    assert outbox.flush(5)
    assert [batch.counters for batch in backend.batches] == [{JOBS: 1000}]


def test_timings_above_the_capacity_are_dropped_and_counted() -> None:
    backend = StuckBackend()
    outbox = Outbox(lambda: backend, interval_s=60, capacity=10)
    outbox.put("counter", JOBS, 1)
    assert not outbox.flush(0.0)
    assert backend.sending.wait(5)
    for _ in range(30):
        outbox.put("timing", JOBS, 1)

    backend.released.set()

    assert outbox.flush(5)
    assert len(backend.batches[-1].samples) == 10
    assert backend.batches[-1].counters == {DROPPED: 20}


def test_counters_are_summed_and_gauges_overwritten_before_they_are_sent() -> None:
    backend = StuckBackend()
    backend.released.set()
    outbox = Outbox(lambda: backend, interval_s=60)
    for value in (1, 2, 3):
        outbox.put("counter", JOBS, value)
        outbox.put("gauge", DEPTH, value)
        outbox.put("distribution", ("size", ()), value, 0.5)

    assert outbox.flush(5)
    assert len(backend.batches) == 1
    assert backend.batches[0].counters == {JOBS: 6}
    assert backend.batches[0].gauges == {DEPTH: 3}
    assert [sample[2:] for sample in backend.batches[0].samples] == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_measurements_are_sent_at_the_interval_without_a_flush() -> None:
    backend = StuckBackend()
    backend.released.set()
    outbox = Outbox(lambda: backend, interval_s=0.01)
    outbox.put("counter", JOBS, 1)
    assert backend.sending.wait(5)


def test_a_backends_error_is_logged_once_a_minute_and_never_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    backend = FailingBackend()
    outbox = Outbox(lambda: backend, interval_s=60)
    for _ in range(3):
        outbox.put("counter", JOBS, 1)
        assert outbox.flush(5)
    assert backend.calls == 3
    assert capsys.readouterr().out.count("metrics_not_sent") == 1


def test_opening_a_backend_is_retried_and_loses_no_counter() -> None:
    backend = StuckBackend()
    backend.released.set()
    tries: list[int] = []

    def open_backend() -> StuckBackend:
        tries.append(1)
        if len(tries) == 1:
            raise ImportError("datadog")
        return backend

    outbox = Outbox(open_backend, interval_s=60)
    outbox.put("counter", JOBS, 1)
    assert outbox.flush(5)
    outbox.put("counter", JOBS, 1)
    assert outbox.flush(5)
    assert len(tries) == 2
    assert [batch.counters for batch in backend.batches] == [{JOBS: 2}]
