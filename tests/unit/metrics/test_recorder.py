"""Measurements before they are sent: names, tags, values and timers."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from consumer_fleet.metrics.arroyo_bridge import ARROYO_METRICS, ArroyoMetrics
from consumer_fleet.metrics.definitions import Metric, UndeclaredMetric
from consumer_fleet.metrics.outbox import Batch, Snapshot
from consumer_fleet.metrics.recorder import Recorder

METRICS = (
    Metric("jobs", "counter", "jobs", "Jobs done.", ("queue", "outcome")),
    Metric("depth", "gauge", "jobs", "Jobs waiting."),
    Metric("job_s", "timing", "seconds", "Time of a job.", ("queue",)),
    Metric("size", "distribution", "bytes", "Size of a job."),
)


class KeepingBackend:
    """Keeps the batches instead of sending them."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def send(self, batch: Batch) -> None:
        self.batches.append(batch)

    def close(self) -> None:
        pass


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(METRICS)


def test_counters_are_readable_in_the_process_without_any_backend(recorder: Recorder) -> None:
    recorder.incr("jobs", tags={"outcome": "done", "queue": "a"})
    recorder.incr("jobs", tags={"outcome": "done", "queue": "b"}, amount=4)
    recorder.incr("jobs", tags={"outcome": "failed", "queue": "a"})
    recorder.gauge("depth", 3)
    recorder.gauge("depth", 2)

    snapshot = recorder.snapshot()

    assert snapshot.total("jobs") == 6
    assert snapshot.total("jobs", outcome="done") == 5
    assert snapshot.total("jobs", outcome="done", queue="b") == 4
    assert snapshot.total("other") == 0
    assert snapshot.gauges == {("depth", ()): 2}


def test_no_thread_is_started_without_a_backend(recorder: Recorder) -> None:
    before = threading.active_count()
    recorder.incr("jobs")
    assert threading.active_count() == before
    assert recorder.flush(0.0)


def test_a_calls_tag_wins_over_the_threads_and_the_callers_dict_is_unchanged(
    recorder: Recorder,
) -> None:
    tags = {"queue": "call"}
    with recorder.thread_tags(queue="thread", host="h1"):
        recorder.incr("jobs", tags=tags)
        with recorder.thread_tags(host="h2"):
            recorder.incr("jobs")
    recorder.incr("jobs", instance="third")

    assert tags == {"queue": "call"}
    found = {frozenset(series[1]) for series in recorder.snapshot().counters}
    assert found == {
        frozenset({("queue", "call"), ("host", "h1")}),
        frozenset({("queue", "thread"), ("host", "h2")}),
        frozenset({("instance", "third")}),
    }


def test_thread_tags_of_one_thread_do_not_reach_another(recorder: Recorder) -> None:
    with recorder.thread_tags(queue="mine"):
        other = threading.Thread(target=recorder.incr, args=("jobs",))
        other.start()
        other.join()
    assert recorder.snapshot().counters == {("jobs", ()): 1}


@pytest.mark.parametrize("tag", ["event_id", "project_id", "_id", "event", "project", "group"])
def test_a_tag_with_a_value_per_message_is_removed(recorder: Recorder, tag: str) -> None:
    recorder.incr("jobs", tags={tag: "1", "queue": "a"})
    with recorder.thread_tags(**{tag: "2"}):
        recorder.incr("jobs", tags={"queue": "a"})
    assert recorder.snapshot().counters == {("jobs", (("queue", "a"),)): 2}


def test_a_tag_with_a_value_per_message_raises_in_strict_mode(recorder: Recorder) -> None:
    recorder.configure(strict=True)
    with pytest.raises(UndeclaredMetric, match="event_id"), recorder.thread_tags(event_id="1"):
        recorder.incr("jobs")


@pytest.mark.parametrize(
    ("measure", "problem"),
    [
        (lambda r: r.incr("jbos"), "'jbos' is not declared"),
        (lambda r: r.gauge("jobs", 1), "declared as a counter, not as a gauge"),
        (lambda r: r.incr("jobs", tags={"colour": "red"}), "tag 'colour' is not declared"),
    ],
)
def test_an_undeclared_metric_raises_in_strict_mode_each_time(
    recorder: Recorder, measure: Callable[[Recorder], None], problem: str
) -> None:
    recorder.configure(strict=True)
    for _ in range(2):
        with pytest.raises(UndeclaredMetric, match=problem):
            measure(recorder)


def test_a_metric_can_be_declared_later_and_again_but_not_otherwise() -> None:
    recorder = Recorder([])
    recorder.incr("shop.orders")
    metric = Metric("shop.orders", "counter", "orders", "Orders.")
    recorder.declare(metric)
    recorder.declare(metric)
    recorder.incr("shop.orders")
    assert recorder.snapshot().total("shop.orders") == 1
    with pytest.raises(ValueError, match="declared twice"):
        recorder.declare(Metric("shop.orders", "gauge", "orders", "Orders."))
    with pytest.raises(ValueError, match="'rate' is not a kind"):
        recorder.declare(Metric("shop.rate", "rate", "", ""))  # type: ignore[arg-type]


def test_an_undeclared_metric_is_logged_once_and_dropped(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        recorder.incr("jbos")
        recorder.gauge("jobs", 1)
        recorder.incr("jobs", tags={"colour": "red"})

    assert recorder.snapshot() == Snapshot(counters={("jobs", ()): 3}, gauges={})
    assert capsys.readouterr().out.count("metric_refused") == 3


@pytest.mark.parametrize("amount", [float("nan"), float("inf"), "3", None])
def test_a_value_that_is_not_a_finite_number_is_logged_and_dropped(
    recorder: Recorder, capsys: pytest.CaptureFixture[str], amount: object
) -> None:
    recorder.incr("jobs", amount=amount)  # type: ignore[arg-type]  # a caller's bug
    recorder.incr("jobs")
    assert recorder.snapshot().counters == {("jobs", ()): 1}
    assert f"{amount!r} is not a finite number" in capsys.readouterr().out
    recorder.configure(strict=True)
    with pytest.raises(UndeclaredMetric, match="not a finite number"):
        recorder.gauge("depth", amount)  # type: ignore[arg-type]  # a caller's bug


def test_an_unhashable_tag_value_does_not_raise(recorder: Recorder) -> None:
    recorder.incr("jobs", tags={"queue": ["a"]})  # type: ignore[dict-item]  # a caller's bug
    assert recorder.snapshot().counters == {("jobs", (("queue", "['a']"),)): 1}


def test_a_sampled_counter_stands_for_the_calls_left_out(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = iter([0.1, 0.25, 0.9, 0.2])
    monkeypatch.setattr("random.random", lambda: next(draws))
    for _ in range(4):
        recorder.incr("jobs", sample_rate=0.25)
    assert recorder.snapshot().total("jobs") == 8


def test_a_timer_tags_success_failure_and_the_blocks_own_tags() -> None:
    backend = KeepingBackend()
    recorder = Recorder(METRICS)
    recorder.configure(lambda: backend, interval_s=60)
    given = {"queue": "a"}

    with recorder.timer("job_s", tags=given) as tags:
        tags["queue"] = "b"
    with pytest.raises(ZeroDivisionError), recorder.timer("job_s"):
        raise ZeroDivisionError
    with recorder.timer("job_s") as tags:
        tags["result"] = "skipped"

    assert given == {"queue": "a"}
    assert recorder.flush(5)
    samples = [sample for batch in backend.batches for sample in batch.samples]
    assert [series for _, series, _, _ in samples] == [
        ("job_s", (("queue", "b"), ("result", "success"))),
        ("job_s", (("result", "failure"),)),
        ("job_s", (("result", "skipped"),)),
    ]
    assert all(0 <= value < 5 for _, _, value, _ in samples)


def test_configuring_again_sends_the_rest_to_the_backend_before() -> None:
    first, second = KeepingBackend(), KeepingBackend()
    recorder = Recorder(METRICS)
    recorder.configure(lambda: first, interval_s=60)
    recorder.incr("jobs")
    recorder.configure(lambda: second, interval_s=60)
    recorder.incr("jobs", amount=2)
    assert recorder.flush(5)

    assert [batch.counters for batch in first.batches] == [{("jobs", ()): 1}]
    assert [batch.counters for batch in second.batches] == [{("jobs", ()): 2}]


def test_arroyos_metrics_arrive_under_the_prefix_with_merged_tags(recorder: Recorder) -> None:
    recorder.configure(strict=True)
    bridge = ArroyoMetrics(recorder, {"consumer": "events", "status": "none"})

    bridge.increment("arroyo.consumer.run.count", 3)
    bridge.increment("arroyo.consumer.commit_status", tags={"status": "success"})
    bridge.gauge("arroyo.producer.librdkafka.broker_tx", 7, {"broker_id": "1"})
    bridge.gauge("arroyo.producer.librdkafka.broker_tx", 8, {"producer_name": "dlq"})

    snapshot = recorder.snapshot()
    assert snapshot.total("consumer.arroyo.consumer.run.count", consumer="events") == 3
    assert snapshot.total("consumer.arroyo.consumer.commit_status", status="success") == 1
    names_and_tags = [(series[0], dict(series[1])) for series in snapshot.gauges]
    assert [tags.get("broker") for _, tags in names_and_tags] == ["1", None]


def test_a_name_that_arroyo_does_not_declare_is_logged_once_and_dropped(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.configure(strict=True)
    bridge = ArroyoMetrics(recorder)
    for _ in range(2):
        bridge.increment("arroyo.made.up")  # type: ignore[arg-type]  # what is tested
    assert not recorder.snapshot().counters
    assert capsys.readouterr().out.count("arroyo_metric_not_declared") == 1
    assert "arroyo.consumer.run.count" in ARROYO_METRICS
