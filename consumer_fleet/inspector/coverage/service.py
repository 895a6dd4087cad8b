"""The interface of coverage providers, their settings, queries and results."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.services import ServiceInterface


class Line(IntEnum):
    """Coverage of one line: the codes of Codecov's API and of Sentry's frontend.

    Lines that can't be covered or were not measured are left out.
    """

    COVERED = 0
    UNCOVERED = 1
    PARTIAL = 2  # it ran, but not all of its branches were taken


# Line number, from 1 → its coverage.
Lines: TypeAlias = dict[int, Line]


class CoverageStatus(StrEnum):
    """Values as in Sentry's frontend."""

    EXISTS = "COVERAGE_EXISTS"
    NO_DATA = "NO_COVERAGE_DATA"  # a provider is configured but has no data for this file
    NO_INTEGRATION = "NO_INTEGRATION"  # no provider, or it refused the token


@dataclass(frozen=True, slots=True)
class CoverageQuery:
    """The file of one frame as described by its event: untrusted input.

    Names are those of the frame's attributes, except ``commit`` and ``branch`` (from the event's
    release) and ``sdk_name``.
    """

    file: str
    commit: str | None = None
    sdk_name: str | None = None
    abs_path: str | None = None
    module: str | None = None
    package: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """``lines`` are sorted by number; empty unless the status is ``EXISTS``.

    ``url`` is the provider's web page of the file. ``reason`` is one sentence for the user: why
    there is no coverage, or a remark on the coverage shown.
    """

    status: CoverageStatus
    lines: tuple[tuple[int, Line], ...] = ()
    url: str | None = None
    provider: str | None = None
    reason: str | None = None

    @classmethod
    def of_lines(
        cls, lines: Lines, provider: str, *, url: str | None = None, reason: str | None = None
    ) -> Coverage:
        return cls(CoverageStatus.EXISTS, tuple(sorted(lines.items())), url, provider, reason)

    @classmethod
    def no_data(cls, provider: str, reason: str) -> Coverage:
        return cls(CoverageStatus.NO_DATA, provider=provider, reason=reason)

    @classmethod
    def no_integration(cls, reason: str, provider: str | None = None) -> Coverage:
        return cls(CoverageStatus.NO_INTEGRATION, provider=provider, reason=reason)


class CoverageService(ServiceInterface):
    """A source of line coverage."""

    interface = ("coverage",)

    def coverage(self, query: CoverageQuery) -> Coverage:
        """The lines of one file. Blocks; a server has the configured timeout to answer.

        Never raises for a bad query, an unreadable report or a failing server: the result has the
        reason.
        """
        raise NotImplementedError


CODECOV_URL = "https://api.codecov.io"
# The short names of Git hosts in Codecov's web addresses → the names in its API.
_SERVICES = {
    "gh": "github",
    "gl": "gitlab",
    "bb": "bitbucket",
    "ghe": "github_enterprise",
    "gle": "gitlab_enterprise",
    "bbs": "bitbucket_server",
}


@dataclass(frozen=True, slots=True)
class PathMapping:
    """Paths below ``prefix`` are below ``replacement`` in the repository and in reports."""

    prefix: str
    replacement: str

    @classmethod
    def parse(cls, text: str) -> PathMapping:
        """``/srv/app=src``. Raises ConfigurationError without a ``=``."""
        prefix, equals, replacement = text.partition("=")
        if not equals:
            raise ConfigurationError(
                f"path mapping {text!r}: expected FROM=TO, for example /srv/app=src"
            )
        return cls(prefix, replacement)


@dataclass(frozen=True, slots=True)
class CodecovSettings:
    """``slug`` is OWNER/REPOSITORY; ``branch`` None means the repository's default branch.

    ``timeout_s`` bounds all requests of one query together; the page gives up after 10 s.
    ``ca_file`` None means certifi's authorities. Raises ConfigurationError; its message never
    contains the token.
    """

    token: str = field(repr=False)
    slug: str
    service: str = "github"
    base_url: str = CODECOV_URL
    branch: str | None = None
    timeout_s: float = 6.0
    ca_file: str | None = None

    def __post_init__(self) -> None:
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise ConfigurationError("the Codecov token is empty or has unprintable characters")
        if [len(part) > 0 for part in self.slug.split("/")] != [True, True]:
            raise ConfigurationError(f"Codecov repository {self.slug!r}: expected OWNER/REPOSITORY")
        if self.long_service not in _SERVICES.values():
            known = ", ".join(sorted(_SERVICES.values()))
            raise ConfigurationError(f"Codecov service {self.service!r}: expected one of {known}")
        _check_url(self.base_url)
        if not 0 < self.timeout_s <= 60:
            raise ConfigurationError(
                f"Codecov timeout {self.timeout_s:g}: expected more than 0, at most 60 seconds"
            )

    @property
    def long_service(self) -> str:
        return _SERVICES.get(self.service, self.service)


@dataclass(frozen=True, slots=True)
class CoverageSettings:
    """``reports`` are local coverage files of any supported format."""

    reports: tuple[Path, ...] = ()
    path_mappings: tuple[PathMapping, ...] = ()
    codecov: CodecovSettings | None = None


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError("the Codecov URL must not contain credentials: use the token")
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise ConfigurationError(f"Codecov URL {url!r}: expected https://HOST")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"Codecov URL {url!r}: a query or fragment is not allowed")
