"""The numbers that a worker leaves behind, across a real process border."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection

import pytest

from consumer_fleet.worker.protocol import Board, Suspect

CONTEXT = multiprocessing.get_context("spawn")


def write(board: Board, connection: Connection) -> None:
    """In the other process: take up a message, then die with it in hand."""
    board.begin(2**40, 499)
    board.note_losable(17)
    board.note_accepted([2**40, 5])
    board.beat()
    connection.send_bytes(b"written")
    connection.recv_bytes()
    board.end()
    connection.send_bytes(b"ended")
    connection.recv_bytes()
    board.begin(2**40 + 1, 3)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_worker_wrote_is_seen_by_its_parent_and_outlives_its_death() -> None:
    board = Board(CONTEXT)
    before = board.silent_s
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=write, args=(board, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv_bytes() == b"written"
    assert board.suspect == Suspect(2**40, 499)
    assert board.losable == 17
    assert board.accepted == [2**40, 5]
    assert 0.0 <= board.silent_s < before + 60
    ours.send_bytes(b"go on")
    assert ours.recv_bytes() == b"ended"
    assert board.suspect is None
    ours.send_bytes(b"die")
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert board.suspect == Suspect(2**40 + 1, 3)
    ours.close()


def test_a_new_board_blames_nobody_and_has_just_been_alive() -> None:
    board = Board(CONTEXT)
    assert board.suspect is None
    assert board.losable == 0
    board.note_accepted([3])
    assert board.accepted == [3, 0], "one destination alone"
    assert 0.0 <= board.silent_s < 5.0


def test_the_first_message_of_the_first_task_can_be_blamed() -> None:
    board = Board(CONTEXT)
    board.begin(0, 0)
    assert board.suspect == Suspect(0, 0)
    board.end()
    assert board.suspect is None


def test_silence_is_counted_from_the_last_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [5_000_000_000]
    monkeypatch.setattr("consumer_fleet.worker.protocol.time.monotonic_ns", lambda: now_ns[0])
    board = Board(CONTEXT)
    now_ns[0] += 2_500_000_000
    assert board.silent_s == 2.5
    board.beat()
    now_ns[0] += 1_000_000
    assert board.silent_s == 0.001
