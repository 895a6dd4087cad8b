"""Coverage from local report files, matched to frames by path."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import structlog

from consumer_fleet.inspector.coverage.reports import (
    UnreadableReport,
    add_line,
    read_report,
)
from consumer_fleet.inspector.coverage.service import (
    Coverage,
    CoverageQuery,
    CoverageService,
    Lines,
    PathMapping,
)

Segments: TypeAlias = tuple[str, ...]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:/")
_JVM_FILE = re.compile(r"\.(?:java|kts?|scala|groovy|clj)$", re.IGNORECASE)
_PYTHON_MODULE = re.compile(r"\w+(?:\.\w+)*")
# Files below these folders belong to installed packages, even if the rest of the path matches.
LIBRARIES = frozenset({"site-packages", "dist-packages", "node_modules"})


class AmbiguousPath(LookupError):
    """Several files in the reports match the frame. The message names some of them."""


@dataclass(frozen=True, slots=True)
class ReportedFile:
    """A file of a report, and its lines."""

    segments: Segments
    lines: Lines


@dataclass(frozen=True, slots=True)
class FramePath:
    """The known paths of a frame's file.

    ``mapped`` is its path in the repository, by a configured mapping. ``relative`` is its path
    below the root of its package or program; ``full`` is its path on the machine that ran it.
    """

    mapped: Segments | None
    relative: Segments | None
    full: Segments | None

    @classmethod
    def of(cls, query: CoverageQuery, mappings: Sequence[PathMapping]) -> FramePath:
        relative = _jvm_path(query) or _relative_file(query) or _python_path(query)
        texts = [query.abs_path or "", relative or "", query.file]
        full = query.abs_path or query.file
        if relative is not None and len(split(full)) <= len(split(relative)):
            full = ""  # it adds nothing
        mapped = next((found for text in texts if (found := map_path(text, mappings))), None)
        return cls(split(mapped or "") or None, split(relative or "") or None, split(full) or None)

    @property
    def in_repository(self) -> str | None:
        """The file's path in its repository; None if unknown."""
        segments = self.mapped or self.relative
        return "/".join(segments) if segments else None


def split(path: str) -> Segments:
    """The segments of a path without scheme and query, with ``.`` and ``..`` resolved."""
    scheme = _SCHEME.match(path)
    if scheme is not None:
        path = re.split(r"[?#]", path[scheme.end() :], maxsplit=1)[0]
    names: list[str] = []
    for name in path.replace("\\", "/").split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return tuple(names)


def is_absolute(path: str) -> bool:
    path = path.replace("\\", "/")
    return path.startswith("/") or any(start.match(path) for start in (_SCHEME, _DRIVE))


def map_path(path: str, mappings: Iterable[PathMapping]) -> str | None:
    """The path with its longest matching prefix replaced; None without a match.

    A prefix ends at a ``/``. The empty prefix matches relative paths.
    """
    path = path.replace("\\", "/")
    best: PathMapping | None = None
    for mapping in mappings:
        if _starts_with(path, mapping.prefix) and (
            best is None or len(mapping.prefix) > len(best.prefix)
        ):
            best = mapping
    if best is None:
        return None
    rest = path[len(best.prefix) :].lstrip("/")
    return f"{best.replacement.rstrip('/')}/{rest}" if best.replacement else rest


def _starts_with(path: str, prefix: str) -> bool:
    prefix = prefix.replace("\\", "/")
    if not prefix:
        return bool(path) and not is_absolute(path)
    rest = path.removeprefix(prefix)
    return rest != path and (prefix.endswith("/") or rest.startswith("/"))


def _jvm_path(query: CoverageQuery) -> str | None:
    """A JVM frame names the file alone; its folders follow from its package."""
    names = split(query.file or query.abs_path or "")
    if not names or _JVM_FILE.search(names[-1]) is None:
        return None
    package = query.package or ""
    if not package and query.module:
        package = query.module.rpartition(".")[0]
    return "/".join((*package.split("."), names[-1])) if package else None


def _relative_file(query: CoverageQuery) -> str | None:
    return query.file if query.file and not is_absolute(query.file) else None


def _python_path(query: CoverageQuery) -> str | None:
    """The path that the module's name implies, if the file has that name."""
    module = query.module or ""
    names = split(query.abs_path or query.file)
    if not names or _PYTHON_MODULE.fullmatch(module) is None:
        return None
    path = module.replace(".", "/")
    candidates = (f"{path}.py", f"{path}/__init__.py")
    return next((found for found in candidates if split(found)[-1] == names[-1]), None)


class PathIndex:
    """Finds files of all reports by the end of their paths."""

    def __init__(self, files: Iterable[ReportedFile]) -> None:
        self._by_name: dict[str, list[ReportedFile]] = defaultdict(list)
        for file in files:
            if file.segments:
                self._by_name[file.segments[-1]].append(file)

    def find(self, frame: FramePath) -> list[ReportedFile]:
        """The frame's file, once for each report that contains it. Raises AmbiguousPath."""
        known = frame.mapped or frame.full or frame.relative
        if known is None:
            return []
        best: list[ReportedFile] = []
        best_length = 0
        for file in self._by_name.get(known[-1], ()):
            if not _fits(file, frame):
                continue
            length = common_suffix(file.segments, known)
            if length > best_length:
                best, best_length = [], length
            if length == best_length:
                best.append(file)
        return _one_file(best)


def _fits(file: ReportedFile, frame: FramePath) -> bool:
    if frame.mapped is not None:
        return _is_within(file.segments, frame.mapped)
    # The relative path starts at a package's name. Part of it is not enough: two packages may both
    # have a models.py.
    if frame.relative is not None and not _is_within(file.segments, frame.relative):
        return False
    if frame.full is None:
        return True
    length = common_suffix(file.segments, frame.full)
    if length < min(2, len(file.segments), len(frame.full)):
        return False
    if frame.relative is not None or _is_within(file.segments, frame.full):
        return True
    return length >= 2 and LIBRARIES.isdisjoint(frame.full)


def _is_within(reported: Segments, path: Segments) -> bool:
    """Whether one path ends with the other. A bare name matches only if it is all of ``path``."""
    length = common_suffix(reported, path)
    return length == len(path) or (length == len(reported) and length >= 2)


def common_suffix(one: Segments, other: Segments) -> int:
    length = 0
    for name, other_name in zip(reversed(one), reversed(other), strict=False):
        if name != other_name:
            break
        length += 1
    return length


def _one_file(files: list[ReportedFile]) -> list[ReportedFile]:
    """The files, if all are the same file under shorter and longer paths."""
    by_length = sorted(files, key=lambda file: len(file.segments))
    for shorter, longer in pairwise(by_length):
        if longer.segments[-len(shorter.segments) :] != shorter.segments:
            names = ", ".join("/".join(file.segments) for file in by_length[:3])
            raise AmbiguousPath(f"several files in the reports match: {names}")
    return by_length


log = structlog.get_logger(__name__)

_NAME = "local"
# Changes whenever the file is rewritten: modification time, size, inode.
_Version = tuple[int, int, int] | None


@dataclass(slots=True)
class _ReportFile:
    """One report file and its content when last read."""

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
        # The content may be newer than this version; then it is read once more. It is never older.
        self.version, self.was_read = version, True
        try:
            report = read_report(self.path)
            self.files = tuple(ReportedFile(split(name), lines) for name, lines in report.items())
            self.problem = None
        except UnreadableReport as error:
            self.files, self.problem = (), str(error)
            log.warning("coverage_report_unreadable", path=str(self.path), error=str(error))
        except Exception as error:  # the other reports stay usable
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
    """Reads each report at the first query, and again when its file has changed.

    Reports don't name their commit: they are assumed to describe the running code. If several
    contain a file, each line gets its best result.
    """

    def __init__(self, paths: Sequence[Path], mappings: Sequence[PathMapping]) -> None:
        self._reports = [_ReportFile(path) for path in paths]
        self._mappings = tuple(mappings)
        self._lock = threading.Lock()
        self._index = PathIndex(())

    def has(self, query: CoverageQuery) -> bool:
        """Whether a report contains that file. Blocks while a changed report is read."""
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
            return Coverage.no_data(_NAME, "the reports have no lines for that file")
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
        return "; ".join([f"no report contains {name}", *problems])
