"""The parent's side of a worker process: start it, exchange frames with it, end it.

A slot is one of the pool's workers: its present process, and what that was given.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from time import monotonic
from typing import Protocol, TypeAlias

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.kafka.chunk import name_of
from consumer_fleet.worker import protocol
from consumer_fleet.worker.boot_failures import BootFailure
from consumer_fleet.worker.multiprocess_worker import WorkerSpec, multiprocess_worker
from consumer_fleet.worker.protocol import Regions, SharedState, Suspect
from consumer_fleet.worker.work import Assignment, PoolShare

# Two chunks per worker: one to work on, and one that is ready when the first is done.
_QUEUE_MESSAGES = 1000
_MAX_RESTART_DELAY_S = 5.0
_SHORT_LIFE_S = 10.0


class WorkerHandle(Protocol):
    """A running worker. The run loop's thread makes all decisions about it."""

    @property
    def started_at(self) -> float:
        """By ``time.monotonic``."""

    @property
    def shared(self) -> SharedState: ...

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    @property
    def exit_code(self) -> int | None:
        """As multiprocessing gives it: negative for a signal. None while the worker runs, and
        where something else has collected it.
        """

    def send(self, frame: bytes) -> None:
        """Queue a frame. Never blocks; a frame to a dead worker is dropped."""

    def take_frames(self) -> list[bytes]:
        """Frames that arrived since the last call. Frames sent before a death are still there."""

    def stop(self) -> None:
        """Ask the worker to finish its tasks and to exit."""

    def kill(self) -> None:
        """End the worker at once, whatever it is doing."""

    def join(self, timeout_s: float) -> bool:
        """Wait for the worker's end and its last frames. True if it has ended."""


# Starts a worker. The last parameter is called, in any thread, when frames have arrived.
StartWorker: TypeAlias = Callable[[WorkerSpec, int, Callable[[], None]], WorkerHandle]


class FramePipe:
    """Move frames in two threads, so that the run loop never waits for a worker that has stopped.

    ``on_frame`` is called, in a thread, when frames have arrived, and once more when the worker's
    end of the pipe has closed.
    """

    def __init__(self, connection: Connection, name: str, on_frame: Callable[[], None]) -> None:
        self._connection = connection
        self._on_frame = on_frame
        self._received: deque[bytes] = deque()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        # Whether the worker's end has closed.
        self.ended = False
        self._threads = [
            threading.Thread(target=target, name=f"{name}-{role}", daemon=True)
            for role, target in (("reader", self._read), ("writer", self._write))
        ]
        for thread in self._threads:
            thread.start()

    def send(self, frame: bytes) -> None:
        """Queue a frame. Never blocks; a frame to a dead worker is dropped."""
        self._outgoing.put(frame)

    def take_frames(self) -> list[bytes]:
        """Frames that arrived since the last call. Frames sent before a death are still there."""
        frames = []
        while self._received:
            frames.append(self._received.popleft())
        return frames

    def close(self) -> None:
        """Read the last frames, then end. Blocks until the worker's end is closed."""
        self._outgoing.put(None)
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _read(self) -> None:
        try:
            while True:
                self._received.append(self._connection.recv_bytes())
                self._on_frame()
        except (EOFError, OSError):
            self.ended = True
            self._on_frame()

    def _write(self) -> None:
        try:
            while (frame := self._outgoing.get()) is not None:
                self._connection.send_bytes(frame)
        except OSError:
            # The worker is dead: the pool notices it, and sends its tasks again.
            return


def _hear_of_deaths() -> None:
    """Undo an inherited SIG_IGN of SIGCHLD, under which the system keeps no exit codes."""
    is_ignored = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    if is_ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


# A death closes the pipe. The system is asked this often, in case something else keeps it open: a
# look takes a call, and the pool looks several times in a turn.
_ASK_INTERVAL_S = 0.05
_SEED = "PYTHONHASHSEED"
# Never fork: librdkafka's threads and locks do not survive it.
_CONTEXT = get_context("spawn")


class WorkerProcess:
    """A worker in a process of its own. For ``on_frame`` see ``FramePipe``."""

    def __init__(self, spec: WorkerSpec, number: int, on_frame: Callable[[], None]) -> None:
        self.started_at = monotonic()
        self.shared = SharedState(_CONTEXT, len(capture_options(spec.options).destinations))
        # One secret seed for all workers, which share a table of hashes (``SentIds``).
        if os.environ.get(_SEED, "random") == "random":
            os.environ[_SEED] = str(secrets.randbelow(2**32))
        ours, theirs = _CONTEXT.Pipe(duplex=True)
        self._process = _CONTEXT.Process(
            target=multiprocess_worker,
            args=(spec, number, theirs, self.shared),
            name=f"consumer-worker-{number}",
            daemon=True,
        )
        _hear_of_deaths()
        # The child inherits the mask, and ignores them before it unblocks them: a Ctrl-C during its
        # boot stops the parent in order instead of ending the child with a traceback.
        signal.pthread_sigmask(signal.SIG_BLOCK, protocol.SIGNALS_TO_THE_PARENT)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, protocol.SIGNALS_TO_THE_PARENT)
        # With our copy open, the death of the worker would never show as EOF.
        theirs.close()
        self._pipe = FramePipe(ours, f"worker-{number}", on_frame)
        self._ask_due = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        if self._pipe.ended or monotonic() >= self._ask_due:
            self._ask_due = monotonic() + _ASK_INTERVAL_S
            return self._is_running
        return True

    @property
    def _is_running(self) -> bool:
        if not self._process.is_alive():
            return False
        # Where something else collects the processes that end, multiprocessing never learns of it.
        return not (self._pipe.ended and wait([self._process.sentinel], 0))

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def send(self, frame: bytes) -> None:
        self._pipe.send(frame)

    def take_frames(self) -> list[bytes]:
        return self._pipe.take_frames()

    def stop(self) -> None:
        self.send(protocol.STOP)

    def kill(self) -> None:
        """The process ignores TERM, so this is KILL, which also ends a stopped one."""
        self._process.kill()

    def join(self, timeout_s: float) -> bool:
        self._process.join(timeout_s)
        if self._is_running:
            return False
        self._pipe.close()
        return True


@dataclass(slots=True)
class Slot:
    """One of the pool's workers: its present process, and the tasks that it was given."""

    number: int
    process: WorkerHandle | None = None
    ready: bool = False
    tasks: dict[int, Assignment] = field(default_factory=dict)
    # Tasks that were abandoned and whose worker has not said DONE: their regions.
    cancelled: dict[int, tuple[int, int]] = field(default_factory=dict)
    regions: Regions = field(default_factory=Regions)
    restart_at: float = 0.0
    short_lives: int = 0
    boot_error: BootFailure | None = None
    statuses: list[DestinationStatus] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        return sum(task.work.unsettled for task in self.tasks.values())

    @property
    def isolating(self) -> bool:
        return any(task.alone for task in self.tasks.values())

    def can_take(self, share: PoolShare) -> bool:
        """Whether it may get another chunk of the share: it has fewer than two waiting. Those of
        other shares don't count, since they may stand still. A worker that boots may get none: it
        would wait for the boot, while other workers have nothing to do.
        """
        if not self.ready or self.isolating:
            return False
        own = sum(task.work.unsettled for task in self.tasks.values() if task.work.share is share)
        return own < _QUEUE_MESSAGES

    def delay_restart(self, lived_s: float, now: float) -> None:
        self.short_lives = self.short_lives + 1 if lived_s < _SHORT_LIFE_S else 0
        delay_s = min(_MAX_RESTART_DELAY_S, 0.1 * 2**self.short_lives)
        self.restart_at = now + (delay_s if self.short_lives > 1 else 0)

    @property
    def decoding(self) -> str | None:
        """The message that it is decoding, as ``topic/partition@offset``."""
        return None if self.process is None else self.describe(self.process.shared.suspect)

    def describe(self, suspect: Suspect | None) -> str | None:
        """Name the message that the worker was decoding, as ``topic/partition@offset``."""
        assignment = None if suspect is None else self.tasks.get(suspect.task_id)
        if suspect is None or assignment is None:
            return None
        chunk = assignment.work.chunk
        return f"{name_of(chunk.partition)}@{chunk.offset_of(suspect.number)}"
