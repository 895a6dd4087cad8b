"""Which file of a report is the file of a frame.

A report names files as the tests' machine had them, an event as the running program has them.
What both have in common is how their paths end.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from inspector.coverage.interface import CoverageQuery, Lines
from inspector.coverage.settings import PathMapping

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
