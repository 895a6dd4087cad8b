"""Line coverage of the files that events' frames name: from reports on this machine or Codecov."""

from consumer_fleet.inspector.coverage.build import build_coverage
from consumer_fleet.inspector.coverage.service import (
    CodecovSettings,
    Coverage,
    CoverageQuery,
    CoverageService,
    CoverageSettings,
    CoverageStatus,
    PathMapping,
)

__all__ = [
    "CodecovSettings",
    "Coverage",
    "CoverageQuery",
    "CoverageService",
    "CoverageSettings",
    "CoverageStatus",
    "PathMapping",
    "build_coverage",
]
