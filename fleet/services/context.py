"""What a delegated call carries along: the request it is made for, and the backends in use.

Kept in context variables: each thread has its own, and asyncio hands them on to its tasks and to
``asyncio.to_thread``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fleet.services.interface import ServiceInterface


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
