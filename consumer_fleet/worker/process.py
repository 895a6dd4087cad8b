"""The parent's side of one worker process: start it, talk to it, see it end."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from time import monotonic
from typing import Protocol, TypeAlias

from consumer_fleet.capture.delivery import DestinationStatus
from consumer_fleet.worker import protocol
from consumer_fleet.worker.multiprocess_worker import WorkerSpec, multiprocess_worker
from consumer_fleet.worker.protocol import Board, Suspect
from consumer_fleet.worker.work import Work


class WorkerHandle(Protocol):
    """One incarnation of a worker. All decisions about it are made in the run loop's thread."""

    @property
    def started_at(self) -> float:
        """By ``time.monotonic``."""

    @property
    def board(self) -> Board: ...

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    @property
    def exit_code(self) -> int | None:
        """As multiprocessing gives it: negative for a signal, None while the worker runs."""

    def send(self, frame: bytes) -> None:
        """Queue a frame. Never blocks; a frame to a dead worker is dropped."""

    def take_frames(self) -> list[bytes]:
        """Frames that arrived since the last call. Frames sent before a death are still there."""

    def stop(self) -> None:
        """Ask the worker to finish what it has and to exit."""

    def kill(self) -> None:
        """End the worker now, whatever it does."""

    def join(self, timeout_s: float) -> bool:
        """Wait for the worker's end and for what it had sent. True if it has ended."""


# Starts a worker; its last parameter is called, in any thread, when the worker has sent something.
StartWorker: TypeAlias = Callable[[WorkerSpec, int, Callable[[], None]], WorkerHandle]


class FramePipe:
    """Two threads move frames, so the run loop never waits for a worker that has stopped reading.

    ``on_frame`` is called, in a thread, when frames are there to be taken, and once more when the
    worker's end of the pipe has closed.
    """

    def __init__(self, connection: Connection, name: str, on_frame: Callable[[], None]) -> None:
        self._connection = connection
        self._on_frame = on_frame
        self._received: deque[bytes] = deque()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
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
        """Read what the worker had sent, then end. Blocks until the worker's end is closed."""
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
            self._on_frame()

    def _write(self) -> None:
        try:
            while (frame := self._outgoing.get()) is not None:
                self._connection.send_bytes(frame)
        except OSError:
            # The worker is dead; the supervisor learns it from the worker and sends again.
            return


# Never fork: librdkafka's threads and locks do not survive it.
_CONTEXT = get_context("spawn")


class WorkerProcess:
    """A worker (``WorkerHandle``) in a process of its own. For ``on_frame`` see ``FramePipe``."""

    def __init__(self, spec: WorkerSpec, number: int, on_frame: Callable[[], None]) -> None:
        self.started_at = monotonic()
        self.board = Board(_CONTEXT)
        ours, theirs = _CONTEXT.Pipe(duplex=True)
        self._process = _CONTEXT.Process(
            target=multiprocess_worker,
            args=(spec, number, theirs, self.board),
            name=f"consumer-worker-{number}",
            daemon=True,
        )
        # The child inherits the mask and ignores both before it unblocks them, so that a Ctrl-C
        # while it boots ends the parent in order instead of the child with a traceback.
        shielded = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, shielded)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, shielded)
        # With our copy open, the death of the worker would never show as EOF.
        theirs.close()
        self._pipe = FramePipe(ours, f"worker-{number}", on_frame)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

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
        if self.alive:
            return False
        self._pipe.close()
        return True


# Two chunks each: one to work on, and one that is there when the first is done.
QUEUE_MESSAGES = 1000


@dataclass(slots=True)
class Assignment:
    """Messages of one chunk that one worker has, or that wait for one."""

    work: Work
    indexes: list[int]
    # The message has killed a worker before: it goes alone.
    alone: bool = False


@dataclass(slots=True)
class Slot:
    """A place for a worker: the worker of the moment and what it was given."""

    number: int
    process: WorkerHandle | None = None
    ready: bool = False
    tasks: dict[int, Assignment] = field(default_factory=dict)
    restart_at: float = 0.0
    failed_boots: int = 0
    short_lives: int = 0
    boot_error: tuple[str, int] | None = None
    statuses: list[DestinationStatus] = field(default_factory=list)

    @property
    def outstanding(self) -> int:
        return sum(task.work.unsettled for task in self.tasks.values())

    @property
    def isolating(self) -> bool:
        return any(task.alone for task in self.tasks.values())

    @property
    def can_take(self) -> bool:
        """Whether it may get another chunk without having two of them waiting."""
        return self.process is not None and not self.isolating and self.outstanding < QUEUE_MESSAGES

    def place_of(self, suspect: Suspect | None) -> str | None:
        """``topic/partition@offset`` of the message that the worker had in its hands."""
        assignment = None if suspect is None else self.tasks.get(suspect.task_id)
        if suspect is None or assignment is None:
            return None
        chunk = assignment.work.chunk
        offset = chunk.records[suspect.index].offset
        return f"{chunk.partition.topic.name}/{chunk.partition.index}@{offset}"
