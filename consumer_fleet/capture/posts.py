"""POST requests to one URL: the interface, and the parts that implementations share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi

from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.errors import ConfigurationError

# Relay closes idle connections after 5 s; a request that meets the close would be ambiguous.
IDLE_CONNECTION_AGE_S: Final = 4
# The part of an answer's body that is read.
BODY_CAP_BYTES: Final = 64 * 1024
# The time that a slow line may take for a big body, on top of the request's timeout.
_SLOWEST_UPLOAD_BYTES_PER_S: Final = 1024 * 1024
_PROXY: Final = re.compile(
    r"(?:[a-z][a-z0-9+.\-]*://)?(?:[!-.0-9;-?A-~]*(?::[!-.0-9:-?A-~]*)?@)?"
    r"(?:[A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?(?:/[!-?A-~]*)?",
    re.IGNORECASE,
)


class Answer(NamedTuple):  # made for each request; a frozen dataclass takes three times as long
    """How one request ended. ``status`` is 0 if there was no answer, and ``error`` says why.

    ``is_ambiguous``: there was no answer although the whole request had been sent, so the server
    may have accepted it.
    """

    status: int
    rate_limits: str | None = None
    retry_after: str | None = None
    body: bytes = b""
    error: str = ""
    is_ambiguous: bool = False


def timeout_s(options: DestinationOptions, body_bytes: int) -> float:
    """The time that a request with a body of this size may take."""
    return options.request_timeout_s + body_bytes // _SLOWEST_UPLOAD_BYTES_PER_S


class Posts(Protocol):
    """How a destination's requests are made. Only the loop's driver may use it."""

    @property
    def idle(self) -> int:
        """How many more requests may start now."""

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        """Start a request; call only while `idle` is not 0.

        ``on_answer`` is called once: later, or before this returns.
        """


def authorities(ca_file: str | os.PathLike[str] | None) -> bytes:
    """The path of the PEM file with the certificate authorities to trust: certifi's by default.

    In bytes, because pycurl takes no text but ASCII.
    """
    return os.fsencode(ca_file or certifi.where())


def proxy_from_environment(url: str) -> str:
    """The proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` ask for.

    Empty if there is none. Raises ConfigurationError, without its text, if it is not a URL.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    if not proxies or proxy_bypass(parts.netloc):
        return ""
    name = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(name, "")
    if proxy and not _PROXY.fullmatch(proxy):
        raise ConfigurationError(
            f"the proxy in {name}_proxy is not a valid URL; expected "
            "http://USER:PASSWORD@HOST:PORT, where a user or password writes /, @, a space "
            "and letters outside ASCII in percent-encoding, like %2F"
        )
    return proxy
