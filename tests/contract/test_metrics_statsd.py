"""From a call to the lines that a DogStatsD server gets, over processes and their ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from consumer_fleet.metrics.definitions import Metric
from consumer_fleet.metrics.outbox import DogstatsdBackend
from consumer_fleet.metrics.recorder import Recorder
from tests.support.statsd import StatsdServer

ROOT = Path(__file__).parents[2]
METRICS = (
    Metric("jobs", "counter", "jobs", "Jobs done.", ("queue",)),
    Metric("depth", "gauge", "jobs", "Jobs waiting."),
    Metric("job_s", "timing", "seconds", "Time of a job."),
    Metric("size", "distribution", "bytes", "Size of a job."),
)

_HEAD = """
import multiprocessing, os, sys
from consumer_fleet import metrics
port = int(sys.argv[1])
def child(configures):
    if configures:
        metrics.configure_metrics(host="127.0.0.1", port=port)
    metrics.incr("dlq.failed")
"""
# The sending thread imports datadog first, which may take seconds beside other tests.
_PATIENT_HEAD = f"""{_HEAD}
from consumer_fleet.metrics import outbox
outbox._EXIT_FLUSH_TIMEOUT_S = 30.0
"""


@pytest.fixture
def server() -> Iterator[StatsdServer]:
    with StatsdServer() as server:
        yield server


def run_script(tmp_path: Path, server: StatsdServer, body: str, head: str = _PATIENT_HEAD) -> None:
    """Run a process of its own to its end; children re-import it, hence the file."""
    script = tmp_path / "measure.py"
    script.write_text(f'{head}\nif __name__ == "__main__":\n{body}')
    subprocess.run(
        [sys.executable, script, str(server.port)],
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def test_each_kind_arrives_as_its_statsd_line_with_merged_tags(server: StatsdServer) -> None:
    recorder = Recorder(METRICS)
    recorder.configure(
        partial(
            DogstatsdBackend,
            host="127.0.0.1",
            port=server.port,
            prefix="fleet.",
            global_tags={"env": "test", "queue": "global"},
        ),
        interval_s=60,
    )
    recorder.incr("jobs", tags={"queue": "call"}, amount=2)
    recorder.incr("jobs", tags={"queue": "call"})
    recorder.gauge("depth", 4)
    recorder.timing("job_s", 0.25)
    recorder.distribution("size", 512)

    assert recorder.flush(10)
    assert sorted(server.receive_rest()) == [
        "fleet.depth:4|g|#env:test,queue:global",
        "fleet.job_s:0.25|h|#env:test,queue:global",
        "fleet.jobs:3|c|#env:test,queue:call",
        "fleet.size:512|d|#env:test,queue:global",
    ]


def test_measuring_goes_on_when_no_server_listens() -> None:
    with StatsdServer() as server:
        gone = server.port
    recorder = Recorder(METRICS)
    recorder.configure(partial(DogstatsdBackend, host="127.0.0.1", port=gone), interval_s=60)
    for _ in range(3):
        recorder.incr("jobs")
        assert recorder.flush(10)
    assert recorder.snapshot().total("jobs") == 3


def test_measurements_are_sent_when_the_process_ends(tmp_path: Path, server: StatsdServer) -> None:
    body = """
    metrics.configure_metrics(host="127.0.0.1", port=port)
    metrics.incr("dlq.produced", amount=7)
"""
    run_script(tmp_path, server, body)
    assert server.receive_rest() == ["dlq.produced:7|c"]


def test_a_backend_that_hangs_does_not_keep_the_process_from_ending(
    tmp_path: Path, server: StatsdServer
) -> None:
    body = """
    import threading
    class Hanging:
        def send(self, batch): threading.Event().wait()
    metrics.recorder.configure(Hanging)
    metrics.incr("dlq.produced")
"""
    run_script(tmp_path, server, body, _HEAD)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_child_sends_its_own_measurements_and_none_of_its_parents(
    tmp_path: Path, server: StatsdServer, method: str
) -> None:
    body = f"""
    metrics.configure_metrics(host="127.0.0.1", port=port)
    metrics.incr("dlq.produced")
    assert metrics.flush(30)
    metrics.incr("dlq.produced", amount=2)
    child_process = multiprocessing.get_context("{method}").Process(
        target=child, args=({method == "spawn"},)
    )
    child_process.start()
    child_process.join()
    sys.exit(child_process.exitcode)
"""
    run_script(tmp_path, server, body)
    assert sorted(server.receive_rest()) == [
        "dlq.failed:1|c",
        "dlq.produced:1|c",
        "dlq.produced:2|c",
    ]


def test_a_plain_fork_starts_a_thread_of_its_own(tmp_path: Path, server: StatsdServer) -> None:
    body = """
    metrics.configure_metrics(host="127.0.0.1", port=port)
    metrics.incr("dlq.produced")
    assert metrics.flush(30)
    pid = os.fork()
    if pid == 0:
        metrics.incr("dlq.failed")
        os._exit(0 if metrics.flush(30) else 1)
    assert os.waitpid(pid, 0)[1] == 0
"""
    run_script(tmp_path, server, body)
    assert sorted(server.receive_rest()) == ["dlq.failed:1|c", "dlq.produced:1|c"]


def test_arroyos_metrics_are_installed_once(tmp_path: Path, server: StatsdServer) -> None:
    body = """
    from arroyo.utils.metrics import get_metrics
    from consumer_fleet.metrics.arroyo_bridge import install
    metrics.configure_metrics(host="127.0.0.1", port=port)
    assert install(metrics.recorder, {"consumer": "events"})
    assert not install(metrics.recorder)
    get_metrics().increment("arroyo.consumer.run.count", 5)
"""
    run_script(tmp_path, server, body)
    assert server.receive_rest() == ["consumer.arroyo.consumer.run.count:5|c|#consumer:events"]
