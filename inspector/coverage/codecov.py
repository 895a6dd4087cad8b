"""Coverage from Codecov's API.

``GET /api/v2/{service}/{owner}/repos/{repository}/file_report/{path}`` with ``sha`` or ``branch``;
without either, it is the default branch (https://docs.codecov.com/reference/repos_file_report_retrieve).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from threading import BoundedSemaphore
from time import monotonic
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from inspector.coverage.answer_cache import AnswerCache, Kept
from inspector.coverage.http_get import Answer, GetFailed, GetLimits, http_get, too_slow
from inspector.coverage.interface import Coverage, CoverageQuery, CoverageService, Line, Lines
from inspector.coverage.paths import FramePath
from inspector.coverage.settings import CodecovSettings, PathMapping

_NAME = "codecov"
_BODY_LIMIT_BYTES = 8 * 1024 * 1024
_MAX_ANSWERS = 256
_CALLS = 4  # that ask at a time; more wait for them
# How long answers are kept. A commit's report does not change once it is there; a branch moves on,
# and a report that is missing may be on its way.
_KEEP_COMMIT_S = inf
_KEEP_OTHER_S = 60.0
_KEEP_FAILURE_S = 5.0
_LINES = {line.value: line for line in Line}


class Codecov(CoverageService):
    """Asks by commit, and by branch where Codecov doesn't know that commit."""

    def __init__(self, settings: CodecovSettings, mappings: Sequence[PathMapping]) -> None:
        self._settings = settings
        self._mappings = tuple(mappings)
        self._places = BoundedSemaphore(_CALLS)
        self._cache: AnswerCache[Coverage] = AnswerCache(_MAX_ANSWERS)

    def coverage(self, query: CoverageQuery) -> Coverage:
        """Blocks for the configured time at most: for a place among others, and two requests."""
        path = FramePath.of(query, self._mappings).in_repository
        if path is None:
            return Coverage.no_data(
                _NAME,
                f"no path mapping leads from {query.abs_path or query.file} to the repository",
            )
        branch = query.branch or self._settings.branch
        key = (path, query.commit, branch)
        return self._cache.get(key, lambda: self._fetch(path, query.commit or None, branch))

    def _fetch(self, path: str, commit: str | None, branch: str | None) -> Kept[Coverage]:
        timeout_s = self._settings.timeout_s
        deadline_s = monotonic() + timeout_s
        limits = GetLimits(timeout_s, deadline_s, _BODY_LIMIT_BYTES, self._settings.ca_file)
        try:
            if not self._places.acquire(timeout=timeout_s):
                raise too_slow(timeout_s)
            try:
                return self._ask(path, commit, branch, limits)
            finally:
                self._places.release()
        except GetFailed as error:
            return Kept(Coverage.no_data(_NAME, f"Codecov: {error}"), _KEEP_FAILURE_S)

    def _ask(
        self, path: str, commit: str | None, branch: str | None, limits: GetLimits
    ) -> Kept[Coverage]:
        named_branch = f"branch {branch}" if branch else "the default branch"
        if commit is not None:
            answer = self._get(path, {"sha": commit}, limits)
            if answer.status != 404:
                return _coverage(answer, None, _KEEP_COMMIT_S)
        answer = self._get(path, {"branch": branch} if branch else {}, limits)
        if answer.status == 404:
            at = f"at commit {commit} or on {named_branch}" if commit else f"on {named_branch}"
            reason = f"Codecov has no report of {path} {at}"
            return Kept(Coverage.no_data(_NAME, reason), _KEEP_OTHER_S)
        note = f"of {named_branch}: Codecov does not know commit {commit}" if commit else None
        return _coverage(answer, note, _KEEP_OTHER_S)

    def _get(self, path: str, parameters: dict[str, str], limits: GetLimits) -> Answer:
        settings = self._settings
        owner, repository = settings.slug.split("/")
        url = (
            f"{settings.base_url.rstrip('/')}/api/v2/{settings.long_service}"
            f"/{quote(owner, safe='')}/repos/{quote(repository, safe='')}"
            f"/file_report/{quote(path, errors='replace')}"
        )
        if parameters:
            url += f"?{urlencode(parameters, errors='replace')}"
        headers = [f"Authorization: Bearer {settings.token}", "Accept: application/json"]
        return http_get(url, headers, limits)


def _coverage(answer: Answer, note: str | None, keep_s: float) -> Kept[Coverage]:
    """What any answer but a 404 means."""
    if answer.status in (401, 403):
        reason = f"Codecov refused the token (HTTP {answer.status})"
        return Kept(Coverage.no_integration(reason, _NAME), _KEEP_OTHER_S)
    if answer.status != 200:
        reason = f"Codecov answered HTTP {answer.status}"
        return Kept(Coverage.no_data(_NAME, reason), _KEEP_FAILURE_S)
    try:
        document = orjson.loads(answer.body)
        lines = _lines(document["line_coverage"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        reason = "Codecov's answer is not a file report"
        return Kept(Coverage.no_data(_NAME, reason), _KEEP_FAILURE_S)
    if not lines:
        reason = "Codecov's report has no lines of that file"
        return Kept(Coverage.no_data(_NAME, reason), _KEEP_OTHER_S)
    found = Coverage.of_lines(lines, _NAME, url=_page(document), reason=note)
    return Kept(found, keep_s)


def _lines(pairs: Any) -> Lines:
    """``[[1, 0], …]``: hit 0, miss 1, partial 2; a line with another code is left out."""
    lines: Lines = {}
    for pair in pairs or ():
        if not pair:
            continue  # [[]] stands for none
        number, code = pair
        if type(number) is int and code in _LINES:
            lines[number] = _LINES[code]
    return lines


def _page(document: dict[str, Any]) -> str | None:
    url = document.get("commit_file_url")
    # The page shows it as the report's address.
    is_link = isinstance(url, str) and url.startswith(("https://", "http://"))
    return url if is_link else None
