"""Coverage from report files on this machine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from inspector.coverage.interface import Coverage, CoverageQuery, CoverageService, Lines
from inspector.coverage.paths import AmbiguousPath, FramePath, PathIndex, ReportedFile, split
from inspector.coverage.read_report import read_report
from inspector.coverage.report import UnreadableReport, add_line
from inspector.coverage.settings import PathMapping

log = structlog.get_logger(__name__)

_NAME = "local"
# Changes whenever the file is written anew: modification time, size, inode.
_Version = tuple[int, int, int] | None


@dataclass(slots=True)
class _ReportFile:
    """One file and what was in it when it was read last."""

    path: Path
    version: _Version = None
    was_read: bool = False
    files: tuple[ReportedFile, ...] = ()
    problem: str | None = None

    def refresh(self) -> bool:
        """Read the file if it has changed. Returns whether it was read."""
        version = self._version_now()
        if self.was_read and version == self.version:
            return False
        # What is read may be newer than the version, and is then read once more: never older.
        self.version, self.was_read = version, True
        try:
            report = read_report(self.path)
            self.files = tuple(ReportedFile(split(name), lines) for name, lines in report.items())
            self.problem = None
        except UnreadableReport as error:
            self.files, self.problem = (), str(error)
            log.warning("coverage_report_unreadable", path=str(self.path), error=str(error))
        except Exception as error:  # whatever it is, the other reports are good
            self.files, self.problem = (), f"{type(error).__name__}: {error}"
            log.exception("coverage_report_unreadable", path=str(self.path), error=self.problem)
        return True

    def _version_now(self) -> _Version:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class LocalReports(CoverageService):
    """Reads each report once, at the first query, and again when its file has changed.

    Reports do not say which commit they are of: they are taken to be of the code that runs. Where
    several have a file, a line counts as well covered as in the best of them.
    """

    def __init__(self, paths: Sequence[Path], mappings: Sequence[PathMapping]) -> None:
        self._reports = [_ReportFile(path) for path in paths]
        self._mappings = tuple(mappings)
        self._lock = threading.Lock()
        self._index = PathIndex(())

    def has(self, query: CoverageQuery) -> bool:
        """Whether a report has lines of that file. Blocks while a changed report is read."""
        try:
            return bool(self._find(query))
        except AmbiguousPath:
            return False

    def coverage(self, query: CoverageQuery) -> Coverage:
        try:
            found = self._find(query)
        except AmbiguousPath as error:
            return Coverage.no_data(_NAME, str(error))
        lines: Lines = {}
        for file in found:
            for number, line in file.lines.items():
                add_line(lines, number, line)
        if lines:
            return Coverage.of_lines(lines, _NAME)
        if found:
            return Coverage.no_data(_NAME, "the reports have no lines of that file")
        return Coverage.no_data(_NAME, self._why_nothing(query))

    def _find(self, query: CoverageQuery) -> list[ReportedFile]:
        frame = FramePath.of(query, self._mappings)
        with self._lock:
            changed = [report.refresh() for report in self._reports]
            if any(changed):
                self._index = PathIndex(file for report in self._reports for file in report.files)
            index = self._index
        return index.find(frame)

    def _why_nothing(self, query: CoverageQuery) -> str:
        problems = [
            f"{report.path}: {report.problem}" for report in self._reports if report.problem
        ]
        name = query.file or query.abs_path or "the file"
        return "; ".join([f"no report has {name}", *problems])
