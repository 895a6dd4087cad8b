"""One interface over several backends: which of them a call goes to is chosen for each call.

Not to be confused with ``consumer_fleet.bootstrap.services``, which is what must work for a start.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer_fleet.inspector.services.delegator import (
    Backend,
    CallReport,
    Context,
    InvalidBackend,
    ServiceDelegator,
    Timing,
    ambient_request,
    current_context,
)
from consumer_fleet.inspector.services.executors import (
    Executor,
    Priority,
    QueueFull,
    ServiceInterface,
    SynchronousExecutor,
    ThreadedExecutor,
)


@dataclass(slots=True)
class CallTimings:
    """A request for ``ambient_request``: afterwards, backend → milliseconds of its last call.

    A secondary that is still at work when the call returns is added when it has finished.
    """

    took_ms: dict[str, float] = field(default_factory=dict)


def note_timings(report: CallReport) -> None:
    """A delegator's callback that fills in the request's ``CallTimings``, if it is one."""
    request = report.context.request
    if isinstance(request, CallTimings):
        for name, timing in zip(report.names, report.timings, strict=True):
            if timing is not None:
                request.took_ms[name] = round(timing.took_s * 1000, 3)


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
