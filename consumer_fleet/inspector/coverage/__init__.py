"""Line coverage of the files in events' frames, from local reports or Codecov."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from consumer_fleet.inspector.coverage.codecov import Codecov
from consumer_fleet.inspector.coverage.local_reports import LocalReports
from consumer_fleet.inspector.coverage.service import (
    Coverage,
    CoverageQuery,
    CoverageService,
    CoverageSettings,
)
from consumer_fleet.inspector.executors import SynchronousExecutor
from consumer_fleet.inspector.services import (
    Context,
    ServiceBackend,
    ServiceDelegator,
    note_timings,
)


class NoProvider(CoverageService):
    """Answers where nothing is configured."""

    def coverage(self, query: CoverageQuery) -> Coverage:
        return Coverage.no_integration("no coverage report and no Codecov token is configured")


def build_coverage(settings: CoverageSettings) -> CoverageService:
    """The coverage service of these settings. Reads no file and sends no request yet.

    Local reports come first: whoever names them wants them, they cost nothing, and no path leaves
    the machine. Codecov is asked for the files that no report contains.
    """
    backends: dict[str, ServiceBackend] = {}
    local = LocalReports(settings.reports, settings.path_mappings) if settings.reports else None
    if local is not None:
        backends["local"] = ServiceBackend(local, SynchronousExecutor())
    if settings.codecov is not None:
        codecov = Codecov(settings.codecov, settings.path_mappings)
        # In the caller's thread: in a queue, cached answers would wait for requests.
        backends["codecov"] = ServiceBackend(codecov, SynchronousExecutor())
    if not backends:
        backends["none"] = ServiceBackend(NoProvider(), SynchronousExecutor())

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        if local is not None and len(backends) > 1:
            return ["local" if local.has(arguments["query"]) else "codecov"]
        return list(backends)

    delegator = ServiceDelegator(CoverageService, backends, select, note_timings)
    # It has every routine that the interface declares, which a type can't express.
    return cast(CoverageService, delegator)
