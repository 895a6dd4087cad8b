"""What the pool needs of a worker, whatever the worker runs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from fleet.worker.board import Board
from fleet.worker.multiprocess_worker import WorkerSpec


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
