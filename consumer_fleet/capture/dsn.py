"""A DSN: the address of a destination, and the key that it asks for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import SplitResult, urlsplit

EXPECTED_FORM: Final = "https://PUBLIC_KEY@HOST[:PORT][/PATH]/PROJECT_ID"
#: How the names of marks begin.
MARK: Final = "consumer_fleet/"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def client_name() -> str:
    """Return this program's name and version for servers: ``consumer-fleet/1.2.3``."""
    try:
        return f"consumer-fleet/{version('consumer-fleet')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "consumer-fleet/0"


@dataclass(frozen=True, slots=True)
class Dsn:
    """A parsed DSN. ``host`` has its brackets if it is an IPv6 one; ``path`` ends with ``/``."""

    scheme: str
    public_key: str
    secret_key: str | None
    host: str
    port: int
    path: str
    project_id: str

    @classmethod
    def parse(cls, value: str) -> Dsn:
        """Parse a DSN. Raises ValueError, which says what is wrong and shows no part of it."""
        parts = _split(value.strip())
        path, _, project_id = parts.path.rstrip("/").rpartition("/")
        if not (project_id.isascii() and project_id.isdigit()):
            # The value is not shown: it may be a secret that was pasted by mistake.
            found = "its last part is not a number" if project_id else "the id is missing"
            raise _bad(f"it must end with the id of a project, but {found}")
        assert parts.hostname is not None  # _split checked it
        assert parts.username is not None
        host = parts.hostname
        return cls(
            scheme=parts.scheme,
            public_key=parts.username,
            secret_key=parts.password or None,
            host=f"[{host}]" if ":" in host else host,
            port=parts.port or _DEFAULT_PORTS[parts.scheme],
            path=path.rstrip("/") + "/",
            project_id=project_id,
        )

    @property
    def envelope_url(self) -> str:
        """The URL that envelopes are posted to."""
        return f"{self.scheme}://{self._netloc}{self.path}api/{self.project_id}/envelope/"

    @property
    def auth_header(self) -> str:
        """The value of ``X-Sentry-Auth``."""
        auth = f"Sentry sentry_version=7, sentry_client={client_name()}, sentry_key="
        auth += self.public_key
        # Servers before Sentry 9 ask for the secret half too; later ones ignore it.
        return f"{auth}, sentry_secret={self.secret_key}" if self.secret_key else auth

    @property
    def mark(self) -> bytes:
        """The header's member, in JSON, of an envelope that has been sent to this DSN."""
        digest = hashlib.blake2b(str(self).encode(), digest_size=8).hexdigest()
        return f'"{MARK}{digest}"'.encode()

    @property
    def redacted(self) -> str:
        """The DSN without its keys: the only form for logs, errors and web pages."""
        return self._format("***")

    def __str__(self) -> str:
        """The public form, without the secret key: what an envelope's header carries."""
        return self._format(self.public_key)

    def __repr__(self) -> str:
        return f"Dsn({self.redacted!r})"

    def _format(self, key: str) -> str:
        return f"{self.scheme}://{key}@{self._netloc}{self.path}{self.project_id}"

    @property
    def _netloc(self) -> str:
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return self.host
        return f"{self.host}:{self.port}"


def _split(value: str) -> SplitResult:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise _bad("it contains a space, a control character or a letter outside ASCII")
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise _bad("its host or port is not valid") from error
    if parts.scheme not in _DEFAULT_PORTS:
        # Its beginning is not shown: without a scheme, that may be the key.
        raise _bad("it must begin with https:// or http://")
    if not parts.hostname:
        raise _bad("it has no host")
    if port == 0:
        raise _bad("its port is 0")
    if "," in parts.path or "@" in parts.path:
        raise _bad("it goes on after the address (one destination takes one DSN)")
    if not parts.username:
        raise _bad("it has no public key before the @")
    if parts.query or parts.fragment:
        raise _bad("nothing may follow the id of the project")
    return parts


def _bad(problem: str) -> ValueError:
    return ValueError(f"not a DSN: {problem}; expected {EXPECTED_FORM}")
