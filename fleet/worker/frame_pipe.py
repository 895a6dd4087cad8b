"""The parent's end of the pipe to one worker: frames in and out, without blocking the run loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue


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
