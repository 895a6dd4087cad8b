"""Line coverage of the files that events' frames name: from reports on this machine or Codecov."""

from inspector.coverage.build import build_coverage
from inspector.coverage.interface import Coverage, CoverageQuery, CoverageService, CoverageStatus
from inspector.coverage.settings import CodecovSettings, CoverageSettings, PathMapping

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
