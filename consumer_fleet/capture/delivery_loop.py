"""One libcurl multi handle that drives the requests of all destinations of a process.

Sockets are watched with ``poll``, not with libcurl's own wait, so that the worker's pipe and other
threads can interrupt it. Everything but `wake` belongs to one thread at a time, the driver: the one
that is in `run_once`.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import pycurl

# A pycurl.Curl, which ships without types.
Handle: TypeAlias = Any
# What ended a transfer: None, or libcurl's error code and its text.
TransferError: TypeAlias = tuple[int, str] | None
# Called at each turn; starts what may start, and returns when it wants a turn next.
Pump: TypeAlias = Callable[[], float]

_POLL_MASKS: Final = {
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}
_READABLE: Final = select.POLLIN | select.POLLHUP | select.POLLERR
_LONGEST_WAIT_S: Final = 60.0


class DeliveryLoop:
    """Create one per process, after it was spawned. ``clock`` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._pumps: list[Pump] = []
        self._finished: dict[Handle, Callable[[TransferError], None]] = {}
        self._curl_due = math.inf
        self._watched: set[int] = set()  # others' descriptors
        self._sockets: set[int] = set()  # libcurl's
        self._poll = select.poll()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._poll.register(self._wake_reader, select.POLLIN)
        self._wake_sent = False
        self._wake_lock = threading.Lock()
        self._driver: int | None = None
        self._drive_lock = threading.Lock()
        self._closed = False
        self._is_released = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_curl_timer)
        self._reserved = 0

    def reserve(self, connections: int) -> None:
        """Keep this many more idle connections than others have asked for."""
        self._reserved += connections
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._reserved)

    def attach(self, pump: Pump) -> None:
        """Have ``pump`` called at each turn, by the driver."""
        self._pumps.append(pump)

    def register(self, fd: int) -> None:
        """End `run_once` early when ``fd`` is readable. Nothing is read from it."""
        self._watched.add(fd)
        self._poll.register(fd, select.POLLIN)

    def start(self, handle: Handle, finished: Callable[[TransferError], None]) -> None:
        """Begin a transfer. For pumps and for what a transfer's end calls, so for the driver."""
        self._finished[handle] = finished
        self._multi.add_handle(handle)

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
        # The lock keeps the pipe open: its number may be somebody else's file after the close.
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
        """Abandon all transfers and close every connection. Any thread, even from within a turn."""
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
        for handle in self._finished:
            self._multi.remove_handle(handle)
        self._finished.clear()
        self._multi.close()

    def _turn(self, timeout_s: float) -> None:
        due = min(self._run_pumps(), self._curl_due)
        wait_s = min(timeout_s, due - self.clock(), _LONGEST_WAIT_S)
        # Rounded up: a timer that is 0.3 ms away must not be asked for again and again.
        events = self._poll.poll(math.ceil(max(wait_s, 0.0) * 1000))
        for fd, mask in events:
            if fd == self._wake_reader:
                self._drain_wake_ups()
            elif fd in self._watched:
                if mask & select.POLLNVAL:  # closed by its owner: it would end every wait
                    self._unwatch(fd)
            else:
                self._run_socket(fd, mask)
        if self._curl_due <= self.clock():
            self._run_curl_timer()
        self._reap()
        # Freed connections take their next requests now rather than at the next turn.
        self._run_pumps()

    def _run_pumps(self) -> float:
        due = math.inf
        if self._closed:
            return due
        for pump in self._pumps:
            due = min(due, pump())
        if self._curl_due <= self.clock():
            self._run_curl_timer()
        return due

    def _run_socket(self, fd: int, mask: int) -> None:
        select_mask = 0
        if mask & _READABLE:
            select_mask |= pycurl.CSELECT_IN
        if mask & select.POLLOUT:
            select_mask |= pycurl.CSELECT_OUT
        self._multi.socket_action(fd, select_mask)

    def _run_curl_timer(self) -> None:
        self._curl_due = math.inf
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _reap(self) -> None:
        while True:
            queued, succeeded, failed = self._multi.info_read(256)
            for handle in succeeded:
                self._finish(handle, None)
            for handle, code, text in failed:
                self._finish(handle, (code, text))
            if not queued:
                return

    def _finish(self, handle: Handle, error: TransferError) -> None:
        self._multi.remove_handle(handle)
        self._finished.pop(handle)(error)

    def _watch_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if fd in self._sockets:  # libcurl may remove one that it never had watched
                self._sockets.discard(fd)
                self._poll.unregister(fd)
        else:
            self._sockets.add(fd)
            self._poll.register(fd, _POLL_MASKS.get(what, 0))

    def _set_curl_timer(self, timeout_ms: int) -> None:
        self._curl_due = math.inf if timeout_ms < 0 else self.clock() + timeout_ms / 1000

    def _drain_wake_ups(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_reader, 4096)
        # Cleared after the read: were it before, the byte of a wake-up in between would be read
        # and its flag would stay, which silences all later ones. What a wake-up announces now,
        # this turn's last pumps see.
        self._wake_sent = False

    def _unwatch(self, fd: int) -> None:
        self._watched.discard(fd)
        self._poll.unregister(fd)
