"""Spread the calls of one interface over several backends, selected for each call.

Not to be confused with ``consumer_fleet.bootstrap.services``, which a process needs to start.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, TypeAlias

import structlog

from consumer_fleet.inspector.executors import Executor, Priority

log = structlog.get_logger(__name__)


class ServiceInterface:
    """The base of an interface whose calls can be delegated.

    A subclass declares the interface and lists its public members in ``interface``; backends
    subclass that one. A delegator gives access to no other members.
    """

    interface: ClassVar[tuple[str, ...]] = ()

    def close(self) -> None:
        """Release threads and connections. Called once, when no more calls come."""

    @classmethod
    def routines(cls) -> dict[str, inspect.Signature]:
        """The delegated part of the interface: name → its signature, as a caller sees it.

        Raises TypeError where ``interface`` lists a member that the class does not have, or a
        routine whose signature is unknown.
        """
        found: dict[str, inspect.Signature] = {}
        for name in cls.interface:
            try:
                static, member = inspect.getattr_static(cls, name), getattr(cls, name)
            except AttributeError:
                raise TypeError(
                    f"{cls.__name__}.interface lists {name!r}, which {cls.__name__} does not define"
                ) from None
            if not inspect.isroutine(member):
                continue
            try:
                signature = inspect.signature(member)
            except ValueError as error:
                raise TypeError(f"{cls.__name__}.{name} has no signature to bind to") from error
            if not isinstance(static, staticmethod | classmethod):
                _self, *others = signature.parameters.values()
                signature = signature.replace(parameters=others)
            found[name] = signature
        return found


class Context:
    """``request`` is anything, or None. ``backends``: interface → its active backend."""

    __slots__ = ("backends", "request")

    def __init__(
        self, request: object, backends: dict[type[ServiceInterface], ServiceInterface]
    ) -> None:
        # Any: only the code that made the request, and its selector, know its type.
        self.request: Any = request
        self.backends = backends

    def copy(self) -> Context:
        """The same request with a shallow copy of the backends."""
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
    """Make ``context`` the running backend call's; restore the previous one afterwards."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


class InvalidBackend(LookupError):
    """The selector chose no primary backend, or an unknown one: a bug in the selector."""


class ServiceBackend(NamedTuple):
    """A backend and the executor of its calls."""

    service: ServiceInterface
    executor: Executor


class Timing(NamedTuple):
    """How long one backend's call waited for its executor, and how long it then took."""

    waited_s: float
    took_s: float


@dataclass(frozen=True, slots=True)
class CallReport:
    """One delegated call, after all its backends have finished.

    ``names``, ``futures`` and ``timings`` have the same order, the primary first. An unknown
    secondary has neither a future nor a timing; one whose queue was full has no timing.
    """

    context: Context
    method: str
    arguments: Mapping[str, Any]
    names: Sequence[str]
    futures: list[Future[Any] | None]
    timings: list[Timing | None]


Selector: TypeAlias = Callable[[Context, str, Mapping[str, Any]], Sequence[str]]
Callback: TypeAlias = Callable[[CallReport], None]


class ServiceDelegator(ServiceInterface):
    """Has the routines that ``base`` declares; each call goes to the selected backends.

    ``selector`` gets the context, the method's name and its arguments by name. The first backend
    that it returns is the primary: the caller waits for it and gets its result. The others, the
    secondaries, run beside it; a full queue of theirs never blocks the caller. ``callback`` is
    called once all have finished, in the thread of the last one; an exception of the callback is
    logged. Where the primary finishes last, the caller gets its result after the callback.

    Backends get the caller's context variables. A coroutine function or a generator is refused.
    A call from within a backend of the same interface goes straight to that backend. Threads may
    share a delegator.
    """

    def __init__(
        self,
        base: type[ServiceInterface],
        backends: Mapping[str, ServiceBackend],
        selector: Selector,
        callback: Callback | None = None,
    ) -> None:
        self._base = base
        self._backends = dict(backends)
        self._selector = selector
        self._callback = callback
        self._signatures = base.routines()
        for name, backend in self._backends.items():
            for routine in self._signatures:
                _refuse_deferred(name, getattr(backend.service, routine, None))

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
        """Finish queued calls, then close all executors and backends. Blocks."""
        for backend in self._backends.values():
            backend.executor.close()
            backend.service.close()

    def _call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context = entered_context()
        active = context.backends.get(self._base)
        if active is not None:
            return getattr(active, method)(*args, **kwargs)
        # Bound before anything is selected or queued: the selector sees the same names however the
        # caller passed the arguments, and a wrong call fails here.
        bound = self._signatures[method].bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        names = list(self._selector(context, method, arguments))
        if not names:
            raise InvalidBackend(f"no backend was selected for {method}")
        if names[0] not in self._backends:
            raise InvalidBackend(f"there is no backend {names[0]!r}")
        count = len(names)
        report = CallReport(context, method, arguments, names, [None] * count, [None] * count)
        return _DelegatedCall(self._base, self._backends, self._callback, report).run(args, kwargs)


def _refuse_deferred(backend: str, routine: Any) -> None:
    """Raise TypeError for a routine whose call only makes an object that does the work later.

    By then the backend would no longer be active, and its time and its errors would be missed.
    """
    for is_one, kind in (
        (inspect.iscoroutinefunction, "a coroutine function"),
        (inspect.isasyncgenfunction, "an async generator"),
        (inspect.isgeneratorfunction, "a generator"),
    ):
        if is_one(routine):
            name = getattr(routine, "__qualname__", routine)
            raise TypeError(
                f"backend {backend!r}: {name} is {kind}, which can't be delegated; do the work in "
                "the call and return its result"
            )


@dataclass(slots=True)
class _DelegatedCall:
    """One delegated call in progress; it fills in the futures and timings of its report."""

    base: type[ServiceInterface]
    backends: Mapping[str, ServiceBackend]
    callback: Callback | None
    report: CallReport
    lock: threading.Lock = field(default_factory=threading.Lock)
    unfinished: int = 0
    primary_settled: threading.Event = field(default_factory=threading.Event)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Queue the secondaries, then the primary, and return or raise its result."""
        # The primary last: it may wait for a free slot in its queue, and the others need not.
        order = [*self._known_secondaries(), 0]
        self.unfinished = len(order)
        submitted = [(index, self._submit(index, args, kwargs)) for index in order]
        for index, future in submitted:
            self.report.futures[index] = future
        # Only now: the last one to finish reports all of them.
        for index, future in submitted:
            future.add_done_callback(partial(self._finished, index))
        self.primary_settled.wait()
        return submitted[-1][1].result()

    def _known_secondaries(self) -> list[int]:
        known = []
        for index, name in enumerate(self.report.names[1:], 1):
            if name in self.backends:
                known.append(index)
            else:
                log.warning("service_backend_unknown", backend=name, method=self.report.method)
        return known

    def _submit(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        backend = self.backends[self.report.names[index]]
        # A copy for each: the active backend of one call must not leak into another.
        context = self.report.context.copy()
        queued_at = perf_counter()

        def task() -> Any:
            started_at = perf_counter()
            context.backends[self.base] = backend.service
            try:
                with active_context(context):
                    return getattr(backend.service, self.report.method)(*args, **kwargs)
            except Exception as error:
                if index > 0:
                    self._warn("service_secondary_failed", error, backend=self.report.names[index])
                raise
            finally:
                took_s = perf_counter() - started_at
                self.report.timings[index] = Timing(started_at - queued_at, took_s)

        # The caller's context variables hold there too, such as those of its log lines. A copy for
        # each, because only one thread at a time can be in one.
        in_callers_context = partial(copy_context().run, task)
        if index == 0:
            return backend.executor.submit(in_callers_context, Priority.PRIMARY, block=True)
        return backend.executor.submit(in_callers_context, Priority.SECONDARY, block=False)

    def _finished(self, index: int, _future: Future[Any]) -> None:
        with self.lock:
            self.unfinished -= 1
            is_last = self.unfinished == 0
        try:
            if is_last and self.callback is not None:
                self.callback(self.report)
        except Exception as error:  # a callback only watches: the call continues without it
            self._warn("service_callback_failed", error)
        finally:
            if index == 0:
                self.primary_settled.set()

    def _warn(self, event: str, error: Exception, **fields: str) -> None:
        log.warning(
            event,
            method=self.report.method,
            error=f"{type(error).__name__}: {error}",
            exc_info=error,
            **fields,
        )


@dataclass(slots=True)
class CallTimings:
    """A request for ``ambient_request``; collects backend → milliseconds of its last call.

    A secondary that is still running when the call returns is added when it has finished.
    """

    took_ms: dict[str, float] = field(default_factory=dict)


def note_timings(report: CallReport) -> None:
    """A delegator's callback that fills in the request's ``CallTimings``, if it is one."""
    request = report.context.request
    if isinstance(request, CallTimings):
        for name, timing in zip(report.names, report.timings, strict=True):
            if timing is not None:
                request.took_ms[name] = round(timing.took_s * 1000, 3)
