"""Source lines of a checkout, for frames that were sent without them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.api import as_json, coverage_query, whole_number
from consumer_fleet.inspector.coverage.local_reports import LIBRARIES, FramePath, Segments
from consumer_fleet.inspector.coverage.service import CoverageQuery, PathMapping
from consumer_fleet.inspector.server import Threads

_CONTEXT_LINES: Final = 7
_MAX_BYTES: Final = 2 * 1024 * 1024
_COMMIT: Final = re.compile(r"[0-9a-f]{7,40}")
_GIT_TIMEOUT_S: Final = 5.0
_CALLS: Final = 4


@dataclass(frozen=True, slots=True)
class SourceLines:
    """``commit`` is the event's, if the lines are of it; None for those of the working tree."""

    lines: list[tuple[int, str]]
    commit: str | None


class SourceRoot:
    """A checkout. Frames never name a file outside it, nor one of git's own.

    Raises ConfigurationError if it is not a folder.
    """

    def __init__(self, folder: Path, mappings: tuple[PathMapping, ...] = ()) -> None:
        if not folder.is_dir():
            raise ConfigurationError(f"the source root {str(folder)!r} is not a folder")
        self._folder = folder.resolve()
        self._mappings = mappings
        self._git = shutil.which("git")

    def lines(self, query: CoverageQuery, line: int) -> SourceLines | None:
        """The lines around ``line`` of the frame's file; None if the checkout has no such file."""
        for path in self._candidates(query):
            text = self._at_commit(path, query.commit)
            if text is not None:
                return SourceLines(_around(text, line), query.commit)
            text = self._in_tree(path)
            if text is not None:
                return SourceLines(_around(text, line), None)
        return None

    def _candidates(self, query: CoverageQuery) -> Iterator[str]:
        paths = FramePath.of(query, self._mappings)
        for segments in (paths.mapped, paths.relative):
            if segments is not None and _is_safe(segments):
                yield "/".join(segments)
        full = paths.full or ()
        if not LIBRARIES.isdisjoint(full):
            return
        # A file's name alone says too little: it could be any file of that name.
        for start in range(len(full) - 1):
            if _is_safe(full[start:]):
                yield "/".join(full[start:])

    def _at_commit(self, path: str, commit: str | None) -> str | None:
        if self._git is None or commit is None or not _COMMIT.fullmatch(commit):
            return None
        try:
            found = subprocess.run(  # noqa: S603 - the commit and the path are checked
                [self._git, "-C", str(self._folder), "show", f"{commit}:./{path}"],
                capture_output=True,
                timeout=_GIT_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return _decoded(found.stdout) if found.returncode == 0 else None

    def _in_tree(self, path: str) -> str | None:
        try:
            file = (self._folder / path).resolve()
            # A link could lead outside.
            if not file.is_relative_to(self._folder) or not file.is_file():
                return None
            return _decoded(file.read_bytes()) if file.stat().st_size <= _MAX_BYTES else None
        except (OSError, ValueError):
            return None


def _is_safe(segments: Segments) -> bool:
    return not {"..", ".", "", ".git"} & set(segments) and not any(
        ":" in segment or "\0" in segment for segment in segments
    )


def _decoded(content: bytes) -> str | None:
    return (
        None if b"\0" in content or len(content) > _MAX_BYTES else content.decode(errors="replace")
    )


def _around(text: str, line: int) -> list[tuple[int, str]]:
    lines = text.splitlines()
    first = max(1, line - _CONTEXT_LINES)
    return [
        (first + index, each) for index, each in enumerate(lines[first - 1 : line + _CONTEXT_LINES])
    ]


class SourceApi:
    """Serves the source lines of a frame."""

    def __init__(self, root: SourceRoot | None) -> None:
        self._root = root
        self._threads = Threads(_CALLS)

    async def get(self, request: Request) -> Response:
        query = coverage_query(request)
        line = whole_number("line", request.query_params.get("line", ""))
        root = self._root
        found = None if root is None else await self._threads.run(lambda: root.lines(query, line))
        if found is None or not any(number == line for number, _ in found.lines):
            raise HTTPException(404, "the checkout has no such line")
        return as_json(found)
