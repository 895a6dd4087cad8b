"""One interface over several backends: which of them a call goes to is chosen for each call.

Not to be confused with ``fleet.bootstrap.services``, which is what must work for a start.
"""

from fleet.services.context import Context, ambient_request, current_context
from fleet.services.delegator import (
    Backend,
    CallReport,
    InvalidBackend,
    ServiceDelegator,
    Timing,
)
from fleet.services.executors import (
    Executor,
    Priority,
    QueueFull,
    SynchronousExecutor,
    ThreadedExecutor,
)
from fleet.services.interface import ServiceInterface
from fleet.services.timings import CallTimings, note_timings

__all__ = [
    "Backend",
    "CallReport",
    "CallTimings",
    "Context",
    "Executor",
    "InvalidBackend",
    "Priority",
    "QueueFull",
    "ServiceDelegator",
    "ServiceInterface",
    "SynchronousExecutor",
    "ThreadedExecutor",
    "Timing",
    "ambient_request",
    "current_context",
    "note_timings",
]
