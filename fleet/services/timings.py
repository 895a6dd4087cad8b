"""How long the backends of a request's calls took, for whoever makes the request."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.services.delegator import CallReport


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
