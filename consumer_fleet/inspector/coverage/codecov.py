"""Coverage from Codecov's API.

``GET /api/v2/{service}/{owner}/repos/{repository}/file_report/{path}`` with ``sha`` or ``branch``,
or neither for the default branch (https://docs.codecov.com/reference/repos_file_report_retrieve).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from math import inf
from threading import BoundedSemaphore
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import orjson
import pycurl

from consumer_fleet.capture.dialing import authorities
from consumer_fleet.capture.dsn import client_name
from consumer_fleet.inspector.coverage.local_reports import FramePath
from consumer_fleet.inspector.coverage.service import (
    CodecovSettings,
    Coverage,
    CoverageQuery,
    CoverageService,
    Line,
    Lines,
    PathMapping,
)

T = TypeVar("T")


class Fetched(NamedTuple, Generic[T]):
    """A result and how long to cache it: ``inf`` without limit, 0 only for current waiters."""

    value: T
    keep_s: float


class AnswerCache(Generic[T]):
    """A cache of ``max_answers``, least recently used first out. Threads may share it."""

    def __init__(self, max_answers: int, clock: Callable[[], float] = monotonic) -> None:
        self._max_answers = max_answers
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, float]] = OrderedDict()
        self._awaited: dict[Hashable, Future[T]] = {}

    def get(self, key: Hashable, fetch: Callable[[], Fetched[T]]) -> T:
        """The cached answer, or ``fetch``'s. Blocks while ``fetch`` runs in any thread.

        An exception of ``fetch`` reaches all who wait for it and is not cached.
        """
        with self._lock:
            known = self._kept.get(key)
            if known is not None and self._clock() < known[1]:
                self._kept.move_to_end(key)
                return known[0]
            awaited = self._awaited.get(key)
            if awaited is None:
                mine: Future[T] = Future()
                self._awaited[key] = mine
        if awaited is not None:
            return awaited.result()
        try:
            value, keep_s = fetch()
        except BaseException as error:
            with self._lock:
                del self._awaited[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._awaited[key]
            self._keep(key, value, keep_s)
        mine.set_result(value)
        return value

    def _keep(self, key: Hashable, value: T, keep_s: float) -> None:
        self._kept[key] = (value, self._clock() + keep_s)
        self._kept.move_to_end(key)
        if len(self._kept) > self._max_answers:
            self._kept.popitem(last=False)


class GetFailed(Exception):
    """No usable answer: no connection, or too long."""


class GetResponse(NamedTuple):
    status: int
    body: bytes


def http_get(url: str, headers: list[str], deadline_s: float, ca_file: str | None) -> GetResponse:
    """Send one GET request. Raises GetFailed; TimeoutError at ``deadline_s`` (monotonic time).

    Redirects are not followed. Proxies come from the environment, as in curl. Neither headers nor
    the answer are logged.
    """
    body = bytearray()

    def receive(data: bytes) -> int | None:
        body.extend(data)
        return None if len(body) <= _BODY_LIMIT_BYTES else 0  # 0 aborts the transfer

    handle = pycurl.Curl()
    try:
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.HTTPHEADER, headers)
        handle.setopt(pycurl.USERAGENT, client_name())
        handle.setopt(pycurl.FOLLOWLOCATION, 0)  # a redirect would send the token elsewhere
        handle.setopt(pycurl.NOSIGNAL, 1)  # signals for DNS timeouts need the main thread
        handle.setopt(pycurl.TIMEOUT_MS, max(1, int((deadline_s - monotonic()) * 1000)))
        handle.setopt(pycurl.ACCEPT_ENCODING, "gzip")
        handle.setopt(pycurl.CAINFO, authorities(ca_file))
        handle.setopt(pycurl.WRITEFUNCTION, receive)
        handle.perform()
        return GetResponse(handle.getinfo(pycurl.RESPONSE_CODE), bytes(body))
    except pycurl.error as error:
        code = error.args[0]
        if len(body) > _BODY_LIMIT_BYTES:
            raise GetFailed(f"the answer is longer than {_BODY_LIMIT_BYTES} bytes") from error
        if code == pycurl.E_OPERATION_TIMEDOUT:
            raise TimeoutError from error
        raise GetFailed(f"no answer (libcurl error {code}: {handle.errstr()})") from error
    finally:
        handle.close()


_NAME = "codecov"
_BODY_LIMIT_BYTES = 8 * 1024 * 1024
_MAX_ANSWERS = 256
_CALLS = 4  # concurrent calls; more wait for a slot
# How long answers are cached. A commit's report never changes; a branch moves on, and a missing
# report may still be uploaded.
_KEEP_COMMIT_S = inf
_KEEP_OTHER_S = 60.0
_KEEP_FAILURE_S = 5.0
_LINES = {line.value: line for line in Line}


class Codecov(CoverageService):
    """Asks by commit, then by branch if Codecov doesn't know the commit."""

    def __init__(self, settings: CodecovSettings, mappings: Sequence[PathMapping]) -> None:
        self._settings = settings
        self._mappings = tuple(mappings)
        self._slots = BoundedSemaphore(_CALLS)
        self._cache: AnswerCache[Coverage] = AnswerCache(_MAX_ANSWERS)

    def coverage(self, query: CoverageQuery) -> Coverage:
        """Blocks until the configured timeout at most, for a free slot and two requests."""
        path = FramePath.of(query, self._mappings).in_repository
        if path is None:
            return Coverage.no_data(
                _NAME,
                f"no path mapping matches {query.abs_path or query.file}: add one with --path-map",
            )
        branch = query.branch or self._settings.branch
        key = (path, query.commit, branch)
        return self._cache.get(key, lambda: self._fetch(path, query.commit or None, branch))

    def _fetch(self, path: str, commit: str | None, branch: str | None) -> Fetched[Coverage]:
        timeout_s = self._settings.timeout_s
        deadline_s = monotonic() + timeout_s
        try:
            if not self._slots.acquire(timeout=timeout_s):
                raise TimeoutError
            try:
                return self._ask(path, commit, branch, deadline_s)
            finally:
                self._slots.release()
        except TimeoutError:
            problem = f"no answer within {timeout_s:g} s"
        except GetFailed as error:
            problem = str(error)
        return Fetched(Coverage.no_data(_NAME, f"Codecov: {problem}"), _KEEP_FAILURE_S)

    def _ask(
        self, path: str, commit: str | None, branch: str | None, deadline_s: float
    ) -> Fetched[Coverage]:
        named_branch = f"branch {branch}" if branch else "the default branch"
        if commit is not None:
            answer = self._get(path, {"sha": commit}, deadline_s)
            if answer.status != 404:
                return _coverage(answer, None, _KEEP_COMMIT_S)
        answer = self._get(path, {"branch": branch} if branch else {}, deadline_s)
        if answer.status == 404:
            at = f"at commit {commit} or on {named_branch}" if commit else f"on {named_branch}"
            reason = f"Codecov has no report for {path} {at}"
            return Fetched(Coverage.no_data(_NAME, reason), _KEEP_OTHER_S)
        note = f"from {named_branch}: Codecov does not know commit {commit}" if commit else None
        return _coverage(answer, note, _KEEP_OTHER_S)

    def _get(self, path: str, parameters: dict[str, str], deadline_s: float) -> GetResponse:
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
        return http_get(url, headers, deadline_s, settings.ca_file)


def _coverage(answer: GetResponse, note: str | None, keep_s: float) -> Fetched[Coverage]:
    """Interpret any answer but a 404."""
    if answer.status in (401, 403):
        reason = f"Codecov refused the token (HTTP {answer.status})"
        return Fetched(Coverage.no_integration(reason, _NAME), _KEEP_OTHER_S)
    if answer.status != 200:
        reason = f"Codecov answered HTTP {answer.status}"
        return Fetched(Coverage.no_data(_NAME, reason), _KEEP_FAILURE_S)
    try:
        document = orjson.loads(answer.body)
        lines = _lines(document["line_coverage"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        reason = "Codecov's answer is not a file report"
        return Fetched(Coverage.no_data(_NAME, reason), _KEEP_FAILURE_S)
    if not lines:
        reason = "Codecov's report has no lines for that file"
        return Fetched(Coverage.no_data(_NAME, reason), _KEEP_OTHER_S)
    found = Coverage.of_lines(lines, _NAME, url=_page(document), reason=note)
    return Fetched(found, keep_s)


def _lines(pairs: Any) -> Lines:
    """``[[1, 0], …]``: hit 0, miss 1, partial 2; lines with other codes are left out."""
    lines: Lines = {}
    for pair in pairs or ():
        if not pair:
            continue  # [[]] means no lines
        number, code = pair
        if type(number) is int and code in _LINES:
            lines[number] = _LINES[code]
    return lines


def _page(document: dict[str, Any]) -> str | None:
    url = document.get("commit_file_url")
    # The page shows it, for people to open.
    is_link = isinstance(url, str) and url.startswith(("https://", "http://"))
    return url if is_link else None
