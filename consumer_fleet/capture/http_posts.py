"""POST requests to one URL over a pool of kept-alive connections."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import pycurl

from consumer_fleet.capture.delivery_loop import DeliveryLoop, Handle, TransferError
from consumer_fleet.capture.dsn import client_name
from consumer_fleet.capture.options import DestinationOptions


def authorities(ca_file: str | os.PathLike[str] | None) -> bytes:
    """The PEM file, else certifi's, as libcurl's ``CAINFO``: the wheel of pycurl brings an OpenSSL
    that doesn't know the system's certificates. In bytes, as pycurl takes no text but ASCII.
    """
    return os.fsencode(ca_file or certifi.where())


# Relay closes idle connections after 5 s; a request that meets the close would be ambiguous.
_IDLE_CONNECTION_AGE_S: Final = 4
_BODY_CAP_BYTES: Final = 64 * 1024
# What a slow line may take for a big body on top of the request's timeout.
_SLOWEST_UPLOAD_BYTES_PER_S: Final = 1024 * 1024


class Answer(NamedTuple):  # made for each request, and a frozen dataclass takes thrice the time
    """How one request ended. ``status`` is 0 if there was no answer, and ``error`` says why.

    ``is_ambiguous``: there was no answer although the whole request had been sent, so the server
    may have taken it.
    """

    status: int
    rate_limits: str | None = None
    retry_after: str | None = None
    body: bytes = b""
    error: str = ""
    is_ambiguous: bool = False


class Posts(Protocol):
    """How a destination's requests are made; all of it is for the loop's driver."""

    @property
    def idle(self) -> int:
        """How many more requests may start now."""

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        """Start a request. ``on_answer`` is called once: later, or before this returns."""


class HttpPosts:
    """At most ``connections`` requests at a time, all of them with ``headers``."""

    def __init__(
        self, loop: DeliveryLoop, options: DestinationOptions, headers: tuple[str, ...]
    ) -> None:
        self._loop = loop
        self._options = options
        self._headers = headers
        self._made = 0
        loop.reserve(options.connections)
        self._idle: list[_Post] = []

    @property
    def idle(self) -> int:
        return self._options.connections - self._made + len(self._idle)

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        """Start a request. Only the loop's driver calls this, and only while `idle` is not 0."""
        if self._idle:
            # The one used last has the connection that is the least likely to have been closed.
            post = self._idle.pop()
        else:
            post = _Post(self._loop, self._options, self._headers, self._idle.append)
            self._made += 1
        post.start(body, on_answer)


class _Post:
    """A reusable curl handle and the answer that it is receiving."""

    def __init__(
        self,
        loop: DeliveryLoop,
        options: DestinationOptions,
        headers: tuple[str, ...],
        release: Callable[[_Post], None],
    ) -> None:
        self._loop = loop
        self._release = release
        self._timeout_s = options.request_timeout_s
        self._set_timeout_s = 0.0
        self._sent_bytes = 0
        self._received: list[bytes] = []
        self._received_bytes = 0
        self._head: list[bytes] = []
        self._on_answer: Callable[[Answer], None] | None = None
        self._handle = make_handle(options, headers)
        self._handle.setopt(pycurl.WRITEFUNCTION, self._receive)
        self._handle.setopt(pycurl.HEADERFUNCTION, self._head.append)

    def start(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        self._on_answer = on_answer
        self._received_bytes = 0
        self._received.clear()
        self._head.clear()
        self._sent_bytes = len(body)
        timeout_s = self._timeout_s + len(body) // _SLOWEST_UPLOAD_BYTES_PER_S
        if timeout_s != self._set_timeout_s:
            self._handle.setopt(pycurl.TIMEOUT_MS, int(timeout_s * 1000))
            self._set_timeout_s = timeout_s
        self._handle.setopt(pycurl.POSTFIELDS, body)
        self._loop.start(self._handle, self._finish)

    def _receive(self, data: bytes) -> int | None:
        if self._received_bytes < _BODY_CAP_BYTES:
            self._received.append(data)
            self._received_bytes += len(data)
            return None
        return 0  # ends the transfer: nobody needs the rest, and the connection is closed

    def _limit_headers(self) -> dict[bytes, str]:
        """The two headers that matter. Of each line only the first letter is looked at, mostly."""
        found: dict[bytes, str] = {}
        for line in self._head:
            if line[:1] in b"RrXx":
                name, _, value = line.partition(b":")
                name = name.lower()
                if name in (b"retry-after", b"x-sentry-rate-limits"):
                    text = value.decode("latin-1").strip()
                    # A header may come in several lines, which mean the same as one with commas.
                    known = found.get(name)
                    found[name] = f"{known}, {text}" if known and name[0] == 120 else text
            elif line[:5] == b"HTTP/":
                found.clear()  # what came before belongs to a proxy's or an interim answer
        return found

    def _finish(self, error: TransferError) -> None:
        on_answer = self._on_answer
        assert on_answer is not None  # start sets it
        self._on_answer = None
        answer = self._make_answer(error)
        # Free before the callback: it may want to start the next request at once.
        self._release(self)
        on_answer(answer)

    def _is_head_whole(self) -> bool:
        """Whether an empty line ended it. libcurl takes a connection's end for that, too: what a
        server that dies has said by then is no answer.
        """
        for line in reversed(self._head):
            if line in (b"\r\n", b"\n"):
                return True
            if line[:5] == b"HTTP/":
                break  # what stands before belongs to a proxy's or an interim answer
        return False

    def _make_answer(self, error: TransferError) -> Answer:
        was_cut = error is not None and self._received_bytes >= _BODY_CAP_BYTES
        if error is not None and not (was_cut and error[0] == pycurl.E_WRITE_ERROR):
            code, text = error
            is_ambiguous = self._handle.getinfo(pycurl.SIZE_UPLOAD_T) >= self._sent_bytes
            reason = f"{text or 'no answer'} (libcurl error {code})"
            return Answer(0, error=reason, is_ambiguous=is_ambiguous)
        if not self._is_head_whole():
            return Answer(0, error="the connection ended within the answer", is_ambiguous=True)
        status = self._handle.getinfo(pycurl.RESPONSE_CODE)
        headers = self._limit_headers()
        if not headers and 200 <= status < 300:
            return Answer(status)  # nobody reads the body of a success
        return Answer(
            status=status,
            rate_limits=headers.get(b"x-sentry-rate-limits"),
            retry_after=headers.get(b"retry-after"),
            body=b"".join(self._received),
        )


def proxy_from_environment(url: str) -> str:
    """The proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` ask for."""
    parts = urlsplit(url)
    proxies = getproxies()
    if not proxies or proxy_bypass(parts.netloc):
        return ""
    return proxies.get(parts.scheme) or proxies.get("all", "")


def make_handle(options: DestinationOptions, headers: tuple[str, ...]) -> Handle:
    """A handle with everything set but the body. Proxies come from the environment, as in curl."""
    handle = pycurl.Curl()
    url = options.dsn.envelope_url
    settings = {
        pycurl.URL: url,
        pycurl.POST: 1,
        # Found out once: libcurl would look through the environment at every request.
        pycurl.PROXY: proxy_from_environment(url),
        # "Expect:" keeps libcurl from waiting for a "100 Continue" before each big body.
        pycurl.HTTPHEADER: [*headers, "Expect:"],
        pycurl.USERAGENT: client_name(),
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.NOSIGNAL: 1,
        pycurl.MAXAGE_CONN: _IDLE_CONNECTION_AGE_S,
        pycurl.CONNECTTIMEOUT_MS: int(options.connect_timeout_s * 1000),
        pycurl.CAINFO: authorities(options.ca_file),
    }
    for option, value in settings.items():
        handle.setopt(option, value)
    return handle
