"""Spreads the calls of one interface over several backends."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import structlog

from consumer_fleet.inspector.services.executors import Executor, Priority, ServiceInterface


class Context:
    """``request`` is anything, or None. ``backends``: interface → its active backend."""

    __slots__ = ("backends", "request")

    def __init__(
        self, request: object, backends: dict[type[ServiceInterface], ServiceInterface]
    ) -> None:
        # Any: only whoever made the request, and the selector written for it, know what it is.
        self.request: Any = request
        self.backends = backends

    def copy(self) -> Context:
        """The same request, and backends of its own: a mark in the copy is not in this one."""
        return Context(self.request, self.backends.copy())


_current: ContextVar[Context | None] = ContextVar("fleet_service_context", default=None)
_request: ContextVar[object] = ContextVar("fleet_service_request", default=None)


def current_context() -> Context | None:
    """The context of the backend call that is running here; None outside of one."""
    return _current.get()


def entered_context() -> Context:
    """The context of the running backend call, or a new one for the ambient request."""
    context = _current.get()
    return Context(_request.get(), {}) if context is None else context


@contextmanager
def ambient_request(request: object) -> Iterator[None]:
    """Delegated calls within are made for ``request``. May be nested."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def active_context(context: Context) -> Iterator[None]:
    """Make ``context`` the running backend call's. What was there before comes back afterwards."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


log = structlog.get_logger(__name__)


class InvalidBackend(LookupError):
    """The selector chose no primary backend, or one that does not exist: a bug in the selector."""


class Backend(NamedTuple):
    """A backend and what runs its calls."""

    service: ServiceInterface
    executor: Executor


class Timing(NamedTuple):
    """How long one backend's call waited for its executor, and how long it then took."""

    waited_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class CallReport:
    """One delegated call, after all its backends have finished.

    ``names``, ``futures`` and ``timings`` go together, the primary first. An unknown secondary has
    neither a future nor a timing; one whose queue was full has no timing.
    """

    context: Context
    method: str
    arguments: Mapping[str, Any]
    names: Sequence[str]
    futures: Sequence[Future[Any] | None]
    timings: Sequence[Timing | None]


Selector: TypeAlias = Callable[[Context, str, Mapping[str, Any]], Sequence[str]]
Callback: TypeAlias = Callable[[CallReport], None]


class ServiceDelegator(ServiceInterface):
    """Has the routines that ``base`` declares; each call goes to the backends that are selected.

    ``selector`` gets the context, the method's name and its arguments by their names. The first
    backend that it returns is the primary: the caller waits for it and gets its result. The others,
    the secondaries, are called in passing, and never keep the caller waiting for a place in their
    queue. ``callback`` is called once all have finished, in the thread of the last one; what it
    raises is logged. Where that one is the primary, the caller gets its result only afterwards.

    A call from within a backend of the same interface goes straight to that backend. Threads may
    share a delegator.
    """

    def __init__(
        self,
        base: type[ServiceInterface],
        backends: Mapping[str, Backend],
        selector: Selector,
        callback: Callback | None = None,
    ) -> None:
        self._base = base
        self._backends = dict(backends)
        self._selector = selector
        self._callback = callback
        self._signatures = {
            name: inspect.signature(routine) for name, routine in base.routines().items()
        }

    def __getattr__(self, name: str) -> Any:
        """A delegated routine, or the base's own value of another declared member."""
        base: type[ServiceInterface] = self.__dict__["_base"]
        if name not in base.interface:
            raise AttributeError(f"{base.__name__} does not declare {name!r}")
        if name not in self._signatures:
            return getattr(base, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        return call

    def close(self) -> None:
        """Let what is queued finish, then close all executors and backends. Blocks."""
        for backend in self._backends.values():
            backend.executor.close()
            backend.service.close()

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context = entered_context()
        active = context.backends.get(self._base)
        if active is not None:
            return getattr(active, method)(*args, **kwargs)
        # Bound before anything is chosen or queued, so that the selector sees the same names
        # however the caller gave the arguments, and a wrong call fails here.
        bound = self._signatures[method].bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(list(bound.arguments.items())[1:])
        names = list(self._selector(context, method, arguments))
        if not names:
            raise InvalidBackend(f"no backend was selected for {method}")
        if names[0] not in self._backends:
            raise InvalidBackend(f"there is no backend {names[0]!r}")
        return _Call(self, context, method, arguments, names).run(args, kwargs)


class _Call:
    """One delegated call under way."""

    def __init__(
        self,
        owner: ServiceDelegator,
        context: Context,
        method: str,
        arguments: dict[str, Any],
        names: list[str],
    ) -> None:
        self._base = owner._base
        self._backends = owner._backends
        self._callback = owner._callback
        self._context = context
        self._method = method
        self._arguments = arguments
        self._names = names
        self._futures: list[Future[Any] | None] = [None] * len(names)
        self._timings: list[Timing | None] = [None] * len(names)
        self._lock = threading.Lock()
        self._unfinished = 0
        self._primary_settled = threading.Event()

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Queue the secondaries, then the primary, whose result is returned or raised."""
        order = [*self._known_secondaries(), 0]
        self._unfinished = len(order)
        # The primary last: it may wait for a place in its queue, and the others need not.
        submitted = [(index, self._submit(index, args, kwargs)) for index in order]
        for index, future in submitted:
            self._futures[index] = future
        # Only now: the last one to finish reports all of them.
        for index, future in submitted:
            future.add_done_callback(partial(self._finished, index))
        self._primary_settled.wait()
        return submitted[-1][1].result()

    def _known_secondaries(self) -> list[int]:
        known = []
        for index, name in enumerate(self._names[1:], 1):
            if name in self._backends:
                known.append(index)
            else:
                log.warning("service_backend_unknown", backend=name, method=self._method)
        return known

    def _submit(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        backend = self._backends[self._names[index]]
        # A copy for each: the mark of the active backend must not reach another call.
        context = self._context.copy()
        queued_at = perf_counter()

        def task() -> Any:
            started_at = perf_counter()
            context.backends[self._base] = backend.service
            try:
                with active_context(context):
                    return getattr(backend.service, self._method)(*args, **kwargs)
            except Exception as error:
                if index > 0:
                    self._log_secondary(index, error)
                raise
            finally:
                self._timings[index] = Timing(started_at - queued_at, perf_counter() - started_at)

        if index == 0:
            return backend.executor.submit(task, Priority.PRIMARY, block=True)
        return backend.executor.submit(task, Priority.SECONDARY, block=False)

    def _log_secondary(self, index: int, error: Exception) -> None:
        log.warning(
            "service_secondary_failed",
            backend=self._names[index],
            method=self._method,
            error=f"{type(error).__name__}: {error}",
            exc_info=error,
        )

    def _finished(self, index: int, _future: Future[Any]) -> None:
        with self._lock:
            self._unfinished -= 1
            is_last = self._unfinished == 0
        try:
            if is_last and self._callback is not None:
                self._report(self._callback)
        finally:
            if index == 0:
                self._primary_settled.set()

    def _report(self, callback: Callback) -> None:
        report = CallReport(
            self._context,
            self._method,
            self._arguments,
            self._names,
            self._futures,
            self._timings,
        )
        try:
            callback(report)
        except Exception as error:  # a callback only watches: the call goes on without it
            log.warning(
                "service_callback_failed",
                method=self._method,
                error=f"{type(error).__name__}: {error}",
                exc_info=error,
            )
