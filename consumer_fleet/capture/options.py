"""The options of capture, as one frozen object that the boot makes (``Options.capture``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Compression


@dataclass(frozen=True, slots=True)
class DestinationOptions:
    """The options of one destination; the defaults are those of ``Options``.

    ``name`` is ``upstream`` or ``saas``. One that is not ``required`` drops envelopes once
    ``best_effort_budget_bytes`` of them are waiting. One that ``holds`` gives an envelope back that
    it limits or refuses alone. It gets no items of the types ``drop_items``. ``connections`` are
    per process. ``client_certificate`` is a PEM file with a certificate and its key.
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
    drop_items: frozenset[str] = frozenset()

    def headers(self, encoding: str | None) -> tuple[str, ...]:
        """The headers that every request has in common."""
        headers = (
            "Content-Type: application/x-sentry-envelope",
            f"X-Sentry-Auth: {self.dsn.auth_header}",
        )
        return headers if encoding is None else (*headers, f"Content-Encoding: {encoding}")


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """The options of the transport. A destination is None where it has no DSN."""

    upstream: DestinationOptions | None = None
    saas: DestinationOptions | None = None
    saas_sample_rate: float = 0.0
