"""Real worker processes: deaths, hangs, poison, orphans. Nothing is lost, little is sent twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.errors import ConfigurationError, FleetError
from consumer_fleet.kafka.chunk import Chunk, Record
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import MAX_DEATHS, WorkerPool
from consumer_fleet.worker.work import Work
from tests.support.codecs import obey
from tests.support.consumer_process import clean_environment
from tests.support.processes import wait_until
from tests.support.records import partition
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

CONNECTIONS = 4


def work_of(values: list[bytes], first: int = 0) -> Work:
    records = [Record(first + n, 0, None, value, ()) for n, value in enumerate(values)]
    return Work(Chunk(partition(), tuple(records), sum(len(value) for value in values)))


class Rig:
    """A pool, its destination, and its failures."""

    def __init__(self, receiver: ScriptedReceiver, workers: int, **options: object) -> None:
        self.failures: list[FleetError] = []
        settings = {
            "bootstrap_servers": "127.0.0.1:9",  # a worker never talks to Kafka
            "upstream_dsn": receiver.dsn(),
            "connections": CONNECTIONS,
            "log_format": "json",
            **options,
        }
        resolved = resolve_options(OptionsRequest(settings), {})
        self.pool = WorkerPool(
            WorkerSpec(obey, resolved.options),
            workers,
            message_timeout_s=float(str(options.get("message_timeout_s", 60))),
            on_failure=self.failures.append,
        )
        self.share = self.pool.share()
        self.pool.start()

    def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        def turn() -> bool:
            self.pool.wait(0.05)
            self.pool.poll()
            assert not self.failures
            return condition()

        wait_until(turn, timeout_s=timeout_s, what=what, interval_s=0.0)

    def finish(self, *works: Work) -> None:
        self.until(lambda: all(work.unsettled == 0 for work in works), "all work to be settled")


RigFactory = Callable[..., Rig]


@pytest.fixture
def receiver() -> Iterator[ScriptedReceiver]:
    with ScriptedReceiver() as running:
        yield running


@pytest.fixture
def rig(receiver: ScriptedReceiver) -> Iterator[RigFactory]:
    rigs: list[Rig] = []

    def make(workers: int = 1, **options: object) -> Rig:
        rigs.append(Rig(receiver, workers, **options))
        return rigs[-1]

    yield make
    for each in rigs:
        each.pool.stop(5.0)


def delivered(receiver: ScriptedReceiver) -> Counter[str]:
    """What was sent of the messages; a worker also reports the bugs that it meets."""
    events = [orjson.loads(envelope.items[0].payload) for envelope in receiver.envelopes]
    return Counter(event["message"] for event in events if "exception" not in event)


def reasons(work: Work) -> dict[int, str]:
    advance = work.advance()
    assert advance is not None
    return {letter.record.offset: letter.reason for letter in advance.dead_letters}


@pytest.mark.parametrize("named", [True, False])
def test_an_envelope_names_its_origin_only_if_asked(
    receiver: ScriptedReceiver, rig: RigFactory, *, named: bool
) -> None:
    running = rig(1, envelope_origin=named)
    work = work_of([b"a"], first=41)
    running.share.submit(work)
    running.finish(work)
    header = orjson.loads(receiver.envelopes[0].header)
    place = work.chunk.partition
    expected = {"topic": place.topic.name, "partition": place.index, "offset": 41}
    assert header.get("kafka") == (expected if named else None)


def test_everything_is_delivered_once_and_reported(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig(2)
    works = [work_of([f"{n}".encode() for n in range(a, a + 200)], a) for a in (0, 200, 400)]
    for work in works:
        running.share.submit(work)
    running.finish(*works)
    assert delivered(receiver) == Counter(str(n) for n in range(600))
    assert running.pool.outcomes.delivered == 600


def test_filtered_rejected_and_raising_messages_are_reported_and_stop_nothing(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig()
    work = work_of([b"a", b"skip", b"reject", b"bug", b"b"])
    running.share.submit(work)
    running.finish(work)
    assert delivered(receiver) == Counter("ab")
    assert running.pool.outcomes.filtered == {"on_purpose": 1}
    assert reasons(work) == {2: "bad_message", 3: "codec_error"}
    assert running.pool.restarts == 0


def test_a_killed_worker_is_replaced_and_only_what_it_had_not_acknowledged_is_sent_again(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig()
    work = work_of([f"{n}".encode() for n in range(500)])
    running.share.submit(work)
    running.until(lambda: work.unsettled < 300, "some of it to be settled")
    os.kill(running.pool.pids()[0], signal.SIGKILL)
    running.finish(work)
    counts = delivered(receiver)
    assert set(counts) == {str(n) for n in range(500)}
    # At most the requests that were on the wire.
    assert sum(counts.values()) - 500 <= CONNECTIONS
    assert running.pool.restarts == 1


def test_a_dead_worker_that_something_else_has_collected_is_replaced_too(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    """A plugin that waits for any child, or SIGCHLD that a thread's parent ignores."""
    running = rig()
    running.until(lambda: running.pool.ready_workers == 1, "the worker to boot")
    (pid,) = running.pool.pids()
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[0] == pid
    work = work_of([b"a", b"b"])
    running.share.submit(work)
    running.finish(work)
    assert delivered(receiver) == Counter("ab")
    assert running.pool.restarts == 1


@pytest.mark.parametrize(
    ("poison", "reason"), [(b"kill", "worker_killed"), (b"memory", "worker_killed")]
)
def test_a_message_that_kills_three_workers_in_a_row_becomes_a_dead_letter(
    receiver: ScriptedReceiver, rig: RigFactory, poison: bytes, reason: str
) -> None:
    running = rig(2)
    work = work_of([b"before", poison, b"after"])
    running.share.submit(work)
    running.finish(work)
    assert reasons(work) == {1: reason}
    assert set(delivered(receiver)) == {"before", "after"}
    running.until(lambda: running.pool.restarts == MAX_DEATHS, "the last restart")


def test_poison_takes_no_other_message_down_with_it(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig(2)
    values = [f"{n}".encode() for n in range(300)]
    values[150] = b"kill"
    work = work_of(values)
    running.share.submit(work)
    running.finish(work)
    assert reasons(work) == {150: "worker_killed"}
    counts = delivered(receiver)
    assert len(counts) == 299
    # Only the first death can repeat anything: after it, the poison goes alone.
    assert sum(counts.values()) - 299 <= CONNECTIONS


def test_a_worker_that_hangs_on_one_message_is_killed_and_treated_the_same(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig(2, message_timeout_s=1.0)
    work = work_of([b"before", b"hang", b"after"])
    running.share.submit(work)
    running.finish(work)
    assert reasons(work) == {1: "worker_hung"}
    assert set(delivered(receiver)) == {"before", "after"}


def test_a_stopped_worker_is_killed_and_its_messages_are_not_blamed(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig(1, message_timeout_s=3.0)
    running.until(lambda: running.pool.ready_workers == 1, "the worker to boot")
    os.kill(running.pool.pids()[0], signal.SIGSTOP)
    work = work_of([b"a", b"b"])
    running.share.submit(work)
    running.finish(work)
    assert reasons(work) == {}
    assert delivered(receiver) == Counter("ab")


def test_a_destination_that_is_down_for_long_is_not_a_hang(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    first: list[float] = []

    def script(request: ReceivedRequest) -> Reply:
        first.append(request.received_at_s)
        is_down = request.received_at_s - first[0] < 4  # longer than a worker may be silent
        return Reply(503, {"Retry-After": "1"}) if is_down else Reply(200)

    receiver.respond(script)
    running = rig(1, message_timeout_s=3.0)
    work = work_of([b"a"])
    running.share.submit(work)
    running.finish(work)
    assert len(first) > 2, "several attempts"
    assert running.pool.restarts == 0


def test_a_destination_that_had_accepted_before_the_death_is_not_sent_to_again(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    with ScriptedReceiver() as saas:
        saas.respond(503)
        running = rig(1, saas_dsn=saas.dsn(), store_use_relay_dsn_sample_rate=1)
        work = work_of([b"a", b"b"])
        running.share.submit(work)
        running.until(
            lambda: [s.accepted for s in running.pool.statuses() if s.name == "upstream"] == [2],
            "upstream's answers",
        )
        os.kill(running.pool.pids()[0], signal.SIGKILL)
        saas.respond(200)
        running.finish(work)
        assert delivered(receiver) == Counter("ab")
        # What the dead worker had on the wire may have arrived there as well.
        assert set(delivered(saas)) == {"a", "b"}


def test_envelopes_accepted_right_before_a_death_are_counted(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    with ScriptedReceiver() as saas:
        running = rig(1, saas_dsn=saas.dsn(), store_use_relay_dsn_sample_rate=0.5)
        running.until(lambda: bool(running.pool.statuses()), "the first status")
        work = work_of([f"{n}".encode() for n in range(50)])
        running.share.submit(work)
        running.finish(work)
        (slot,) = running.pool.workers()
        assert slot.process is not None
        shared = slot.process.shared
        # A worker marks what is delivered a moment before it counts it.
        running.until(lambda: shared.accepted == [50, len(saas.envelopes)], "the counts")
        os.kill(running.pool.pids()[0], signal.SIGKILL)
        running.until(lambda: running.pool.restarts == 1, "the restart")
        accepted = {status.name: status.accepted for status in running.pool.statuses()}
        assert accepted == {"upstream": 50, "saas": len(saas.envelopes)}
        assert 0 < len(saas.envelopes) < 50


def test_abandoned_work_is_not_started(receiver: ScriptedReceiver, rig: RigFactory) -> None:
    receiver.respond(503)
    running = rig()
    abandoned, kept = work_of([b"x"] * 400), work_of([b"kept"], first=400)
    running.share.submit(abandoned)
    running.until(lambda: len(receiver.requests) >= CONNECTIONS, "some attempts")
    running.pool.abandon([abandoned])
    running.until(
        lambda: not any(slot.cancelled for slot in running.pool.workers()), "the worker to know"
    )
    receiver.respond(200)
    running.share.submit(kept)
    running.finish(kept)
    counts = delivered(receiver)
    assert counts["kept"] == 1
    assert counts["x"] <= 2 * CONNECTIONS, "only what was in flight may still arrive"


def test_a_worker_that_cannot_boot_ends_the_run_with_its_error() -> None:
    failures: list[FleetError] = []
    # Brokers without a DSN: the options are valid, the boot refuses to go on.
    resolved = resolve_options(OptionsRequest({"bootstrap_servers": "127.0.0.1:9"}), {})
    pool = WorkerPool(
        WorkerSpec(obey, resolved.options), 1, message_timeout_s=60, on_failure=failures.append
    )
    pool.start()
    try:

        def failed() -> bool:
            pool.poll()
            return bool(failures)

        wait_until(failed, timeout_s=60, what="the pool to give up")
    finally:
        pool.stop(1.0)
    assert isinstance(failures[0], ConfigurationError)
    assert "no DSN" in str(failures[0])
    assert pool.is_hopeless


_PARENT = """
import os, sys, time
from tests.integration.test_worker_pool import Rig
from tests.support.scripted_receiver import ScriptedReceiver
if __name__ == "__main__":
    with ScriptedReceiver() as receiver:
        rig = Rig(receiver, 2)
        rig.until(lambda: rig.pool.ready_workers == 2, "the workers to boot")
        print("pids", *rig.pool.pids(), flush=True)
        time.sleep(3600)
"""


def test_orphaned_workers_exit(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env=clean_environment({"PYTHONPATH": str(root)}),
        text=True,
    ) as parent:
        assert parent.stdout is not None
        lines = iter(parent.stdout.readline, "")
        pids = [int(pid) for pid in next(x for x in lines if x.startswith("pids")).split()[1:]]
        parent.kill()
    assert len(pids) == 2

    def gone(pid: int) -> bool:
        # A zombie counts: nobody in a bare container reaps it, and it does nothing any more.
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"

    wait_until(lambda: all(map(gone, pids)), timeout_s=20, what="the orphans to exit")


def test_workers_ignore_the_signals_of_their_process_group(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig(1)
    running.until(lambda: running.pool.ready_workers == 1, "the worker to boot")
    (pid,) = running.pool.pids()
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    work = work_of([b"still here"])
    running.share.submit(work)
    running.finish(work)
    assert running.pool.pids() == [pid]
    assert running.pool.restarts == 0


def test_stop_lets_workers_finish_what_they_have(
    receiver: ScriptedReceiver, rig: RigFactory
) -> None:
    running = rig(2)
    running.until(lambda: running.pool.ready_workers == 2, "the workers to boot")
    work = work_of([f"{n}".encode() for n in range(100)])
    running.share.submit(work)
    running.pool.stop(30.0)
    assert work.unsettled == 0
    assert sum(delivered(receiver).values()) == 100
