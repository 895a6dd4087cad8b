"""The parent's side of one worker process: start it, talk to it, see it end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from multiprocessing import get_context
from time import monotonic

from fleet.worker import protocol
from fleet.worker.board import Board
from fleet.worker.frame_pipe import FramePipe
from fleet.worker.multiprocess_worker import WorkerSpec, multiprocess_worker

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
