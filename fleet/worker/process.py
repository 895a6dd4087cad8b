"""The parent's side of one worker process: start it, talk to it, see it end.

Two threads per worker do nothing but move frames, so the run loop never blocks on a worker that
has stopped reading. All decisions are made elsewhere, in the run loop's thread.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from time import monotonic

from fleet.worker import protocol
from fleet.worker.board import Board
from fleet.worker.multiprocess_worker import WorkerSpec, multiprocess_worker

# Never fork: librdkafka's threads and locks do not survive it.
_CONTEXT = get_context("spawn")


class WorkerProcess:
    """One incarnation of a worker. ``on_frame`` is called, in a reader thread, when frames are
    there to be taken, and once more when the worker's end of the pipe has closed.
    """

    def __init__(self, spec: WorkerSpec, number: int, on_frame: Callable[[], None]) -> None:
        self.number = number
        self.started_at = monotonic()
        self.board = Board(_CONTEXT)
        ours, theirs = _CONTEXT.Pipe(duplex=True)
        self._pipe: Connection = ours
        self._on_frame = on_frame
        self._received: deque[bytes] = deque()
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
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
        self._threads = [
            threading.Thread(target=target, name=f"worker-{number}-{role}", daemon=True)
            for role, target in (("reader", self._read), ("writer", self._write))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_code(self) -> int | None:
        """As multiprocessing gives it: negative for a signal, None while the process runs."""
        return self._process.exitcode

    def send(self, frame: bytes) -> None:
        """Queue a frame. Never blocks; a frame to a dead worker is dropped."""
        self._outgoing.put(frame)

    def take_frames(self) -> list[bytes]:
        """Frames that arrived since the last call. Frames sent before a death are still there."""
        frames = []
        while self._received:
            frames.append(self._received.popleft())
        return frames

    def stop(self) -> None:
        """Ask the worker to finish what it has and to exit."""
        self.send(protocol.STOP)

    def kill(self) -> None:
        """End the process now. It ignores TERM, so this is KILL, which also ends a stopped one."""
        self._process.kill()

    def join(self, timeout_s: float) -> bool:
        """Wait for the process and for what it had sent. True if it has ended."""
        self._process.join(timeout_s)
        if self.alive:
            return False
        self._outgoing.put(None)
        for thread in self._threads:
            thread.join()
        self._pipe.close()
        return True

    def _read(self) -> None:
        try:
            while True:
                self._received.append(self._pipe.recv_bytes())
                self._on_frame()
        except (EOFError, OSError):
            self._on_frame()

    def _write(self) -> None:
        try:
            while (frame := self._outgoing.get()) is not None:
                self._pipe.send_bytes(frame)
        except OSError:
            # The worker is dead; the supervisor learns it from the process and sends again.
            return
