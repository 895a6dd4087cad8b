"""Where a backend's calls run: in the caller's thread, or in a few threads behind a queue."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from queue import Full, PriorityQueue
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

T = TypeVar("T")


class Priority(IntEnum):
    """The lower one is taken first."""

    PRIMARY = 0
    SECONDARY = 1
    STOP = 2  # after all that was queued


class QueueFull(RuntimeError):
    """A call was not queued, because its executor has all the work that it may hold."""


class Executor(Protocol):
    """Runs tasks. The future has the task's result or whatever it raised."""

    def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
        """Run the task, now or later. With ``block`` it waits for room; else the future fails."""

    def close(self) -> None:
        """Finish what is queued and take no more."""


class SynchronousExecutor:
    """Runs each task at once, in the caller's thread: for backends that don't wait for anything."""

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
        """Nothing is running: whoever submits waits."""


class _Job(NamedTuple):
    priority: Priority
    number: int  # first come, first served; and no two jobs compare by their tasks
    task: Callable[[], Any] | None
    future: Future[Any]


class ThreadedExecutor:
    """``workers`` daemon threads, started by the first task, behind a queue of ``queue_length``.

    Primary calls overtake waiting secondary ones. One executor serves one backend: a task that
    submits to its own executor and waits would wait for itself.
    """

    def __init__(self, workers: int = 1, queue_length: int = 100, *, name: str = "service") -> None:
        if workers < 1 or queue_length < 1:
            raise ValueError("an executor needs a worker and room for a task")
        self._workers = workers
        self._name = name
        self._queue: PriorityQueue[_Job] = PriorityQueue(queue_length)
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, task: Callable[[], T], priority: Priority, *, block: bool) -> Future[T]:
        """Queue the task. Raises RuntimeError after ``close``."""
        self._ensure_started()
        future: Future[T] = Future()
        try:
            self._queue.put(_Job(priority, next(self._numbers), task, future), block=block)
        except Full:
            future.set_exception(
                QueueFull(f"{self._name}: {self._queue.maxsize} calls are waiting")
            )
        return future

    def close(self) -> None:
        """Block until what is queued has run, then end the threads."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(_Job(Priority.STOP, next(self._numbers), None, Future()))
        for thread in threads:
            thread.join()

    def _ensure_started(self) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self._name}: the executor is closed")
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
    except BaseException as error:  # whatever it is, somebody waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)


class ServiceInterface:
    """The base of an interface whose calls can be delegated.

    A subclass declares the interface and names its public members in ``interface``; backends
    subclass that one. What is not named there can't be reached through a delegator.
    """

    interface: ClassVar[tuple[str, ...]] = ()

    def close(self) -> None:
        """Let go of threads and connections. Called once, when no more calls come."""

    @classmethod
    def routines(cls) -> dict[str, Callable[..., Any]]:
        """The delegated part of the interface: name → the function as this class defines it.

        Raises TypeError where ``interface`` names something that the class does not have.
        """
        found: dict[str, Callable[..., Any]] = {}
        for name in cls.interface:
            try:
                member = inspect.getattr_static(cls, name)
            except AttributeError:
                raise TypeError(
                    f"{cls.__name__}.interface names {name!r}, which is not there"
                ) from None
            if inspect.isfunction(member):
                found[name] = member
        return found
