"""Puts the configured coverage providers behind one interface."""

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
from consumer_fleet.inspector.services import (
    Backend,
    Context,
    ServiceDelegator,
    SynchronousExecutor,
    note_timings,
)


class NoProvider(CoverageService):
    """Stands in where nothing is configured."""

    def coverage(self, query: CoverageQuery) -> Coverage:
        return Coverage.no_integration("no coverage reports and no Codecov token are configured")


def build_coverage(settings: CoverageSettings) -> CoverageService:
    """The coverage service of these settings. Reads no file and asks nobody yet.

    Reports on this machine come first: whoever names them wants them, they cost nothing, and no
    path leaves the machine. Codecov is asked for the files that they don't have.
    """
    backends: dict[str, Backend] = {}
    local = LocalReports(settings.reports, settings.path_mappings) if settings.reports else None
    if local is not None:
        backends["local"] = Backend(local, SynchronousExecutor())
    if settings.codecov is not None:
        codecov = Codecov(settings.codecov, settings.path_mappings)
        # In the caller's thread: behind a queue, answers that it has kept would wait for new ones.
        backends["codecov"] = Backend(codecov, SynchronousExecutor())
    if not backends:
        backends["none"] = Backend(NoProvider(), SynchronousExecutor())

    def select(_context: Context, _method: str, arguments: Mapping[str, Any]) -> list[str]:
        if local is not None and len(backends) > 1:
            return ["local" if local.has(arguments["query"]) else "codecov"]
        return list(backends)

    delegator = ServiceDelegator(CoverageService, backends, select, note_timings)
    # It answers every routine that the interface declares, which a type can't say.
    return cast(CoverageService, delegator)
