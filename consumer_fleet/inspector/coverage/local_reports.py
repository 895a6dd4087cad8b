"""Coverage from report files on this machine."""

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

from consumer_fleet.inspector.coverage import xml_reports
from consumer_fleet.inspector.coverage.reports import (
    Report,
    UnreadableReport,
    add_line,
    read_data_file,
    read_json,
    read_lcov,
)
from consumer_fleet.inspector.coverage.service import (
    Coverage,
    CoverageQuery,
    CoverageService,
    Lines,
    PathMapping,
)

FORMATS = "coverage.py (.coverage, JSON, XML), Cobertura XML, JaCoCo XML and lcov"
_LIMIT_BYTES = 512 * 1024 * 1024
_SNIFFED_BYTES = 4096
_SQLITE = b"SQLite format 3\0"
_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_COMMENT_LINES = re.compile(rb"(?:#[^\n]*\n\s*)+")


def read_report(path: Path) -> Report:
    """Parse the file. Its content decides on the format. Blocks; raises UnreadableReport."""
    try:
        _check_file(path)
        report = _parse(path)
    except OSError as error:
        raise UnreadableReport(error.strerror or "can't be read") from error
    except UnicodeDecodeError as error:
        raise UnreadableReport("it is not UTF-8") from error
    if not report:
        raise UnreadableReport("it names no source file")
    return report


def _check_file(path: Path) -> None:
    size = path.stat().st_size
    if not path.is_file():
        raise UnreadableReport("not a file")  # a pipe would be waited for
    if size > _LIMIT_BYTES:
        raise UnreadableReport(f"larger than {_LIMIT_BYTES // 1024**2} MiB")


def _parse(path: Path) -> Report:
    with path.open("rb") as file:
        start = file.read(_SNIFFED_BYTES)
    if start.startswith(_SQLITE):
        return read_data_file(path)
    text = start.removeprefix(_BOM).lstrip()
    if text.startswith(b"{"):
        return read_json(path)
    if text.startswith((b"<", *_UTF_16_BOMS)):
        return xml_reports.read_xml(path)
    if _COMMENT_LINES.sub(b"", text, count=1).startswith((b"TN:", b"SF:")):
        return read_lcov(path)
    raise UnreadableReport(f"not a coverage report; known are {FORMATS}")


Segments: TypeAlias = tuple[str, ...]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:/")
_JVM_FILE = re.compile(r"\.(?:java|kts?|scala|groovy|clj)$", re.IGNORECASE)
_PYTHON_MODULE = re.compile(r"\w+(?:\.\w+)*")
# What lies below them came with a package, however much the rest looks like a file of one's own.
_LIBRARIES = frozenset({"site-packages", "dist-packages", "node_modules"})


class AmbiguousPath(LookupError):
    """Several files of the reports could be the frame's. The message names some of them."""


@dataclass(frozen=True, slots=True)
class ReportedFile:
    """A file of a report, and its lines."""

    segments: Segments
    lines: Lines


@dataclass(frozen=True, slots=True)
class FramePath:
    """What is known of a frame's file.

    ``mapped`` is its path in the repository, by a configured mapping. ``relative`` is its path
    below the root of its package or program; ``full`` is where it was on its machine.
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
            full = ""  # it says nothing more
        mapped = next((found for text in texts if (found := map_path(text, mappings))), None)
        return cls(split(mapped or "") or None, split(relative or "") or None, split(full) or None)

    @property
    def in_repository(self) -> str | None:
        """The path to ask a service for that knows the repository; None if it can't be known."""
        segments = self.mapped or self.relative
        return "/".join(segments) if segments else None


def split(path: str) -> Segments:
    """The names of a path, without a scheme, a query, ``.`` and ``..``."""
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
    """The path with its longest configured prefix replaced; None where none fits.

    A prefix ends at a ``/``. The empty one fits relative paths.
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
    """A JVM's frame names the file without its folders, which are those of its package."""
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
    """The path of the module's name, if that is how the file is called."""
    module = query.module or ""
    names = split(query.abs_path or query.file)
    if not names or _PYTHON_MODULE.fullmatch(module) is None:
        return None
    path = module.replace(".", "/")
    candidates = (f"{path}.py", f"{path}/__init__.py")
    return next((found for found in candidates if split(found)[-1] == names[-1]), None)


class PathIndex:
    """The files of all reports, by how their paths end."""

    def __init__(self, files: Iterable[ReportedFile]) -> None:
        self._by_name: dict[str, list[ReportedFile]] = defaultdict(list)
        for file in files:
            if file.segments:
                self._by_name[file.segments[-1]].append(file)

    def find(self, frame: FramePath) -> list[ReportedFile]:
        """The frame's file, once for each report that has it; empty where none does.

        Raises AmbiguousPath.
        """
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
    # The relative path starts at a package's own name, so a part of it is not enough: two packages
    # may both have a models.py.
    if frame.relative is not None and not _is_within(file.segments, frame.relative):
        return False
    if frame.full is None:
        return True
    length = common_suffix(file.segments, frame.full)
    if length < min(2, len(file.segments), len(frame.full)):
        return False
    if frame.relative is not None or _is_within(file.segments, frame.full):
        return True
    return length >= 2 and _LIBRARIES.isdisjoint(frame.full)


def _is_within(reported: Segments, path: Segments) -> bool:
    """Whether one path is the end of the other. A name alone is enough only as all of ``path``."""
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
    """The files, if all are one under shorter and longer paths."""
    by_length = sorted(files, key=lambda file: len(file.segments))
    for shorter, longer in pairwise(by_length):
        if longer.segments[-len(shorter.segments) :] != shorter.segments:
            names = ", ".join("/".join(file.segments) for file in by_length[:3])
            raise AmbiguousPath(f"several files of the reports end like that: {names}")
    return by_length


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
