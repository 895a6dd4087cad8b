"""Run a backend's calls in the caller's thread, or in a few threads behind a queue."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from queue import Full, PriorityQueue
from typing import Any, NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Priority(IntEnum):
    """Lower values run first."""

    PRIMARY = 0
    SECONDARY = 1
    STOP = 2  # after all queued tasks


class ExecutorClosed(RuntimeError):
    """A call was not queued: its executor is closed."""


class QueueFull(RuntimeError):
    """A call was not queued: its executor's queue is full."""


class Executor(Protocol):
    """Runs tasks. The future has the task's result or exception."""

    def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
        """Run the task, now or later. With a full queue, ``block`` or fail the future; once the
        executor is closed, fail it with ExecutorClosed. Never raises.
        """

    def close(self) -> None:
        """Finish queued tasks and accept no more."""


class SynchronousExecutor:
    """Runs each task at once, in the caller's thread: for backends that never wait."""

    def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            result = task()
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def close(self) -> None:
        """Does nothing: ``submit`` returns after its task."""


class _Job(NamedTuple):
    priority: Priority
    number: int  # first in, first out; and tasks are never compared
    task: Callable[[], Any] | None
    future: Future[Any]


class ThreadedExecutor:
    """``workers`` daemon threads, started by the first task, behind a queue of ``queue_length``.

    Primary calls overtake waiting secondary ones. One executor serves one backend: a task that
    submits to its own executor and waits would wait for itself.
    """

    def __init__(self, workers: int = 1, queue_length: int = 100, *, name: str = "service") -> None:
        if workers < 1 or queue_length < 1:
            raise ValueError("an executor needs one or more workers and a queue length above 0")
        self._workers = workers
        self._name = name
        self._queue: PriorityQueue[_Job] = PriorityQueue(queue_length)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._all_queued = threading.Condition(self._lock)
        self._queueing = 0  # calls of submit that have not put their task into the queue yet
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
        """Queue the task, or fail its future where the queue is full or closed."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                future.set_exception(ExecutorClosed(f"{self._name}: the executor is closed"))
                return future
            self._ensure_started()
            self._queueing += 1
        try:
            self._queue.put(_Job(priority, next(self._numbers), task, future), block=block)
        except Full:
            future.set_exception(
                QueueFull(f"{self._name}: {self._queue.maxsize} calls are waiting")
            )
        finally:
            with self._lock:
                self._queueing -= 1
                self._all_queued.notify_all()
        return future

    def close(self) -> None:
        """Block until queued tasks have run, then end the threads."""
        with self._lock:
            self._closed = True
            # A task that came after the stop would never run, and its caller would wait forever.
            self._all_queued.wait_for(lambda: self._queueing == 0)
            threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(_Job(Priority.STOP, next(self._numbers), None, Future()))
        for thread in threads:
            thread.join()

    def _ensure_started(self) -> None:
        if self._threads:
            return
        self._threads = [
            threading.Thread(target=self._work, name=f"{self._name}-{index}", daemon=True)
            for index in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        while (job := self._queue.get()).task is not None:
            _run(job.task, job.future)


def _run(task: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = task()
    except BaseException as error:  # a caller waits for the future, whatever was raised
        future.set_exception(error)
    else:
        future.set_result(result)
