"""The loop that delivery runs in: descriptors by epoll, wake-ups from other threads, turns.

`Posts` is the interface of what makes requests in it: connections of our own, or libcurl.

Everything but `wake` belongs to one thread at a time, the driver: the one that is in `run_once`.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

from consumer_fleet.capture.answers import Answer
from consumer_fleet.capture.options import DestinationOptions

# Called at each turn; starts what may start, and returns when it wants a turn next.
Pump: TypeAlias = Callable[[], float]
# Called with the epoll mask of a descriptor that is ready.
OnReady: TypeAlias = Callable[[int], None]

_LONGEST_WAIT_S: Final = 60.0
# Relay closes idle connections after 5 s; a request that meets the close would be ambiguous.
IDLE_CONNECTION_AGE_S: Final = 4
# The time that a slow line may take for a big body, on top of the request's timeout.
_SLOWEST_UPLOAD_BYTES_PER_S: Final = 1024 * 1024
#: A smaller body gets no time on top.
SMALL_BODY_BYTES: Final = _SLOWEST_UPLOAD_BYTES_PER_S


class Posts(Protocol):
    """How a destination's requests are made. Only the loop's driver may use it."""

    @property
    def idle(self) -> int:
        """How many more requests may start now."""

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        """Start a request; call only while `idle` is not 0.

        ``on_answer`` is called once: later, or before this returns.
        """


def timeout_s(options: DestinationOptions, body_bytes: int) -> float:
    """The time that a request with a body of this size may take."""
    return options.request_timeout_s + body_bytes // _SLOWEST_UPLOAD_BYTES_PER_S


class DeliveryLoop:
    """Create one per process, after it was spawned. ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        #: When the last wait for descriptors has ended: for what needs no exact time.
        self.now = clock()
        self._pumps: list[Pump] = []
        self._closers: list[Callable[[], None]] = []
        self._deferred: list[Callable[[], None]] = []
        self._on_ready: dict[int, OnReady] = {}
        self._epoll = select.epoll()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self.watch(self._wake_reader, select.EPOLLIN, self._drain_wake_ups)
        self._wake_sent = False
        self._wake_lock = threading.Lock()
        self._driver: int | None = None
        self._drive_lock = threading.Lock()
        self._closed = False
        self._is_released = False

    def attach(self, pump: Pump, close: Callable[[], None] | None = None) -> None:
        """Have ``pump`` called at each turn, in the order of attachment, and ``close`` at the end.

        Both by the driver; ``close`` by the thread that closes the loop if there is no driver.
        """
        self._pumps.append(pump)
        if close is not None:
            self._closers.append(close)

    def watch(self, fd: int, events: int, on_ready: OnReady) -> None:
        """Have ``on_ready`` called when ``fd`` is ready for one of the events, until `unwatch`."""
        self._on_ready[fd] = on_ready
        self._epoll.register(fd, events)

    def rewatch(self, fd: int, events: int) -> None:
        """Watch for other events from now on."""
        self._epoll.modify(fd, events)

    def unwatch(self, fd: int) -> None:
        """Call it before ``fd`` is closed."""
        if self._on_ready.pop(fd, None) is not None:
            with suppress(OSError):  # its owner has closed it, and so has ended the watch
                self._epoll.unregister(fd)

    def defer(self, call: Callable[[], None]) -> None:
        """Call it in this turn, once all descriptors that are ready have been handled."""
        self._deferred.append(call)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called: nothing is sent any more."""
        return self._closed

    def is_driven_by_this_thread(self) -> bool:
        """Whether the caller is (indirectly) called by `run_once`."""
        return self._driver == threading.get_ident()

    def wake(self) -> None:
        """End the wait of `run_once`. Any thread may call it; it never blocks."""
        if self._wake_sent or self._is_released or self.is_driven_by_this_thread():
            return
        self._wake_sent = True
        # The lock keeps the pipe open: its number may be another file's after the close.
        with self._wake_lock, suppress(BlockingIOError):  # full: one more would change nothing
            if not self._is_released:
                os.write(self._wake_writer, b"\0")

    def run_once(self, timeout_s: float) -> None:
        """Drive delivery one turn: start what may start, wait, handle what ended.

        Returns at the first event, at the latest after ``timeout_s``. While another thread drives,
        it waits for its turn as long. Must not be called from within a turn.
        """
        if not self._drive_lock.acquire(timeout=max(timeout_s, 0.0)):
            return
        self._driver = threading.get_ident()
        try:
            if not self._closed:
                self._turn(timeout_s)
        finally:
            self._driver = None
            if self._closed:
                self._release()
            self._drive_lock.release()

    def close(self) -> None:
        """Abandon all requests and close every connection. Any thread, even from within a turn."""
        self._closed = True  # before the wake-up, or the driver might begin another turn
        self.wake()
        if self.is_driven_by_this_thread():
            return  # run_once releases everything when the turn ends
        with self._drive_lock:
            self._release()

    def _release(self) -> None:
        if self._is_released:
            return
        with self._wake_lock:
            self._is_released = True
            os.close(self._wake_reader)
            os.close(self._wake_writer)
        for close in self._closers:
            close()
        self._on_ready.clear()
        self._epoll.close()

    def _turn(self, timeout_s: float) -> None:
        wait_s = min(timeout_s, self._run_pumps() - self.clock(), _LONGEST_WAIT_S)
        if self._deferred:  # by a pump
            wait_s = 0.0
        handler_of = self._on_ready.get
        ready = self._epoll.poll(max(wait_s, 0.0))
        self.now = self.clock()
        for fd, mask in ready:
            on_ready = handler_of(fd)
            if on_ready is not None:  # an earlier one in this turn may have unwatched it
                on_ready(mask)
        # Freed connections take their next requests now rather than in the next turn.
        self._run_pumps()

    def _run_pumps(self) -> float:
        if self._deferred:
            deferred, self._deferred = self._deferred, []
            for call in deferred:
                call()
        due = math.inf
        if not self._closed:
            for pump in self._pumps:
                due = min(due, pump())
        return due

    def _drain_wake_ups(self, _mask: int) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        # Cleared after the read: were it before, the byte of a wake-up in between would be read
        # and its flag would stay, which silences all later ones. What a wake-up announces now,
        # this turn's last pumps see.
        self._wake_sent = False
