"""What is asked of a coverage provider, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeAlias

from fleet.services import ServiceInterface


class Line(IntEnum):
    """How well tests cover one line: the codes of Codecov's API and of Sentry's frontend.

    A line that no test can cover, or that nobody measured, is left out.
    """

    COVERED = 0
    UNCOVERED = 1
    PARTIAL = 2  # it ran, but not all of its branches were taken


# Line number, from 1 → how well it is covered.
Lines: TypeAlias = dict[int, Line]


class CoverageStatus(StrEnum):
    """The names that Sentry's frontend gives them."""

    EXISTS = "COVERAGE_EXISTS"
    NO_DATA = "NO_COVERAGE_DATA"  # a provider is there and knows nothing of this file
    NO_INTEGRATION = "NO_INTEGRATION"  # no provider, or none that lets us in


@dataclass(frozen=True, slots=True)
class CoverageQuery:
    """The file of one frame, as the event tells it: nothing here is to be trusted.

    The names are those of the frame's members, except ``commit``, ``branch`` (of the event's
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
    """``lines`` are sorted by number, and only there with ``EXISTS``.

    ``url`` is a page for a person; ``reason`` is one sentence for a person: why there is nothing,
    or what is special about what there is.
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
    """Where line coverage comes from."""

    interface = ("coverage",)

    def coverage(self, query: CoverageQuery) -> Coverage:
        """The lines of one file. Blocks, for the configured time at most where it asks a server.

        Never raises for what the query says, nor for a report or a server that is out of order:
        the answer says so.
        """
        raise NotImplementedError
