"""The options of capture, as one frozen object that the boot makes (``Options.capture``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Compression
from consumer_fleet.printable import REDACTED

Role: TypeAlias = Literal["upstream", "saas"]
ROLES: Final[tuple[Role, ...]] = ("upstream", "saas")


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """The destinations of one project's messages. Those left out are as for all others.

    With ``key``, an envelope whose own DSN has another key is not of this project.
    """

    upstream: Dsn | None = None
    saas: Dsn | None = None
    key: str | None = field(default=None, repr=False)
    upstream_drop_items: frozenset[str] | None = None
    saas_drop_items: frozenset[str] | None = None

    @property
    def given(self) -> dict[str, object]:
        """What it has, by name; without the key, which is not for people."""
        members: dict[str, object] = {"upstream": self.upstream, "saas": self.saas}
        for role in ROLES:
            if (dropped := self.drop_items(role)) is not None:
                members[f"{role}_drop_items"] = tuple(sorted(dropped))
        if self.key is not None:
            members["key"] = REDACTED
        return {name: value for name, value in members.items() if value is not None}

    def dsn(self, role: Role) -> Dsn | None:
        return self.upstream if role == "upstream" else self.saas

    def drop_items(self, role: Role) -> frozenset[str] | None:
        return self.upstream_drop_items if role == "upstream" else self.saas_drop_items


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """The options of one destination; the defaults are those of ``Options``.

    ``name`` is its role, and for a project's own one the project too: ``upstream:42``. One that is
    not ``required`` drops envelopes once ``best_effort_budget_bytes`` of them are waiting. One that
    ``holds`` gives an envelope back that it limits or refuses alone; one that ``shares`` its worker
    with destinations of other messages, also what it can't take for now. It gets no items of the
    types ``drop_items``. ``connections`` are per process. ``client_certificate`` is a PEM file with
    a certificate and its key.
    """

    name: str
    dsn: Dsn
    required: bool = True
    compression: Compression = "auto"
    connections: int = 64
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 30.0
    ca_file: Path | None = None
    client_certificate: Path | None = None
    best_effort_budget_bytes: int = 16 * 1024 * 1024
    holds: bool = False
    shares: bool = False
    drop_items: frozenset[str] = frozenset()

    @property
    def role(self) -> str:
        """``upstream`` or ``saas``: a message has at most one destination of each."""
        return self.name.partition(":")[0]

    @property
    def option(self) -> str:
        """The option that holds its DSN."""
        role, _, project = self.name.partition(":")
        return f"projects.{project}.{role}" if project else f"{role}_dsn"

    @property
    def drop_items_option(self) -> str:
        """The option that says which items it gets none of."""
        role, _, project = self.name.partition(":")
        return f"projects.{project}.{role}_drop_items" if project else f"{role}_drop_items"

    def headers(self, encoding: str | None) -> tuple[str, ...]:
        """The headers that every request has in common."""
        headers = (
            "Content-Type: application/x-sentry-envelope",
            f"X-Sentry-Auth: {self.dsn.auth_header}",
        )
        return headers if encoding is None else (*headers, f"Content-Encoding: {encoding}")


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """The options of the transport. A destination is None where it has no DSN.

    ``projects`` are those with destinations of their own: upstream and saas. Those with the same
    DSN have the same name, and differ only in ``drop_items``.
    """

    upstream: DestinationOptions | None = None
    saas: DestinationOptions | None = None
    saas_sample_rate: float = 0.0
    projects: Mapping[int, Pair] = field(default_factory=dict)

    @property
    def destinations(self) -> list[DestinationOptions]:
        """Each destination once, the default ones first."""
        pairs = ((self.upstream, self.saas), *self.projects.values())
        found = {each.name: each for pair in reversed(pairs) for each in pair if each is not None}
        return sorted(found.values(), key=_in_order)


Pair: TypeAlias = tuple[DestinationOptions | None, DestinationOptions | None]


def _in_order(options: DestinationOptions) -> tuple[int, bool]:
    role, _, project = options.name.partition(":")
    return int(project or 0), role == "saas"
