"""The numbers that a worker shares with its parent, across a real process border."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import pytest

from consumer_fleet.worker import protocol
from consumer_fleet.worker.protocol import Kind, Regions, SharedState, Suspect

CONTEXT = multiprocessing.get_context("spawn")


def write(shared: SharedState, connection: Connection) -> None:
    """In the other process: take up a message, then die with it in hand."""
    shared.begin(2**40, 499)
    shared.note_losable(17)
    shared.note_accepted([2**40, 5])
    shared.receipts[4711] = 1
    shared.beat()
    connection.send_bytes(b"written")
    connection.recv_bytes()
    shared.end()
    connection.send_bytes(b"ended")
    connection.recv_bytes()
    shared.begin(2**40 + 1, 3)
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_parent_sees_what_a_worker_wrote_even_after_its_death() -> None:
    shared = SharedState(CONTEXT)
    before = shared.silent_s
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=write, args=(shared, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv_bytes() == b"written"
    assert shared.suspect == Suspect(2**40, 499)
    assert shared.losable == 17
    assert shared.accepted == [2**40, 5]
    assert shared.receipts.tobytes().index(b"\1") == 4711
    assert 0.0 <= shared.silent_s < before + 60
    ours.send_bytes(b"go on")
    assert ours.recv_bytes() == b"ended"
    assert shared.suspect is None
    ours.send_bytes(b"die")
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert shared.suspect == Suspect(2**40 + 1, 3)
    ours.close()


def test_the_parent_is_told_of_receipts_once_until_it_has_looked() -> None:
    shared = SharedState(CONTEXT)
    assert not shared.take_news()
    assert [shared.announce() for _ in range(3)] == [True, False, False]
    assert shared.take_news()
    assert not shared.take_news()
    assert shared.announce()


def test_a_region_is_given_once_until_it_is_given_back() -> None:
    regions = Regions(100)
    starts = [regions.take(40), regions.take(40), regions.take(20)]
    assert sorted(starts) == [0, 40, 80]
    assert not regions.fits(1)
    regions.give_back(0, 40)
    regions.give_back(80, 20)
    assert regions.fits(40)
    assert not regions.fits(41), "the middle is in use"
    regions.give_back(40, 40)
    assert regions.take(100) == 0


def test_a_new_state_has_no_suspect_and_a_fresh_beat() -> None:
    shared = SharedState(CONTEXT)
    assert shared.suspect is None
    assert shared.losable == 0
    shared.note_accepted([3])
    assert shared.accepted == [3, 0], "one destination alone"
    assert 0.0 <= shared.silent_s < 5.0


def test_the_first_message_of_the_first_task_can_be_blamed() -> None:
    shared = SharedState(CONTEXT)
    shared.begin(0, 0)
    assert shared.suspect == Suspect(0, 0)
    shared.end()
    assert shared.suspect is None


def test_silence_is_counted_from_the_last_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [5_000_000_000]
    monkeypatch.setattr("consumer_fleet.worker.protocol.time.monotonic_ns", lambda: now_ns[0])
    shared = SharedState(CONTEXT)
    now_ns[0] += 2_500_000_000
    assert shared.silent_s == 2.5
    shared.beat()
    now_ns[0] += 1_000_000
    assert shared.silent_s == 0.001


def large_task(number: int, size: int = 500_000) -> protocol.Task:
    return protocol.Task(number, "t", 0, 0, [0], [number], [None], [bytes(size)], [], [], {}, {})


def taken(shared: SharedState, frame: bytes) -> protocol.Task:
    """In the worker: the task that a frame names or is."""
    kind, fields = protocol.decode(frame)
    if kind is Kind.LAID:
        kind, fields = shared.take_laid(*fields)
    assert kind is Kind.TASK
    return protocol.as_task(fields)


def test_large_tasks_arrive_in_order_however_often_the_ring_is_used() -> None:
    shared = SharedState(CONTEXT)
    waiting: list[bytes] = []
    arrived = []
    for number in range(20):
        waiting.append(shared.lay_task(large_task(number)))
        assert len(waiting[-1]) < 100, "it goes through the ring"
        if len(waiting) == 2:
            arrived.append(taken(shared, waiting.pop(0)))
    assert arrived == [large_task(number) for number in range(19)]


def test_a_task_that_the_ring_has_no_room_for_goes_through_the_pipe() -> None:
    shared = SharedState(CONTEXT)
    tasks = [large_task(number, 1_300_000) for number in range(4)] + [large_task(4, 5_000_000)]
    frames = [shared.lay_task(task) for task in tasks]
    assert [len(frame) > 100 for frame in frames] == [False, False, False, True, True]
    assert [taken(shared, frame) for frame in frames] == tasks, "nothing unread was overwritten"
    assert len(shared.lay_task(large_task(5))) < 100, "there is room again"


def test_a_small_task_goes_through_the_pipe_at_once() -> None:
    shared = SharedState(CONTEXT)
    tasks = [large_task(number, 1000) for number in range(2)]
    frames = [shared.lay_task(task) for task in tasks]
    assert [protocol.as_task(protocol.decode(frame)[1]) for frame in frames] == tasks
