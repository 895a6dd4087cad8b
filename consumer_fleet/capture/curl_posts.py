"""POST requests by libcurl: for destinations behind a proxy."""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pycurl

from consumer_fleet.capture.answers import BODY_CAP_BYTES, Answer, answer_of
from consumer_fleet.capture.delivery_loop import IDLE_CONNECTION_AGE_S, DeliveryLoop, timeout_s
from consumer_fleet.capture.dialing import NAME_REFRESH_S, authorities, proxy_from_environment
from consumer_fleet.capture.dsn import client_name
from consumer_fleet.capture.options import DestinationOptions

# A pycurl.Curl, which ships without types.
Handle: TypeAlias = Any
# How a transfer failed: libcurl's error code and its text; None if it did not.
TransferError: TypeAlias = tuple[int, str] | None

_EPOLL_MASKS: Final = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_CONNECTION_LIFETIME_S: Final = 30
_READABLE: Final = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR


class CurlPosts:
    """One libcurl multi handle, driven by the loop; at most ``connections`` requests at a time."""

    def __init__(
        self, loop: DeliveryLoop, options: DestinationOptions, headers: tuple[str, ...]
    ) -> None:
        self._loop = loop
        self._options = options
        self._headers = headers
        self._made = 0
        self._idle: list[_Post] = []
        self._running: dict[Handle, _Post] = {}
        self._timer_due = math.inf
        self._sockets: dict[int, Callable[[int], None]] = {}
        self._reap_is_due = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, options.connections)
        loop.attach(self._run_timer, self._close)

    @property
    def idle(self) -> int:
        return self._options.connections - self._made + len(self._idle)

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        if self._idle:
            # The one used last has the connection that is the least likely to have been closed.
            post = self._idle.pop()
        else:
            post = _Post(self._options, self._headers)
            self._made += 1
        post.prepare(body, on_answer)
        self._running[post.handle] = post
        self._multi.add_handle(post.handle)

    def _watch_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        mask = _EPOLL_MASKS.get(what, 0)
        if what == pycurl.POLL_REMOVE:
            if self._sockets.pop(fd, None):  # libcurl may remove one that it never had watched
                self._loop.unwatch(fd)
        elif fd in self._sockets:
            self._loop.rewatch(fd, mask)
        else:
            self._sockets[fd] = on_ready = self._make_on_ready(fd)
            self._loop.watch(fd, mask, on_ready)

    def _make_on_ready(self, fd: int) -> Callable[[int], None]:
        def on_ready(mask: int) -> None:
            select_mask = 0
            if mask & _READABLE:
                select_mask |= pycurl.CSELECT_IN
            if mask & select.EPOLLOUT:
                select_mask |= pycurl.CSELECT_OUT
            self._multi.socket_action(fd, select_mask)
            self._reap_later()

        return on_ready

    def _set_timer(self, timeout_ms: int) -> None:
        self._timer_due = math.inf if timeout_ms < 0 else self._loop.clock() + timeout_ms / 1000

    def _run_timer(self) -> float:
        if self._timer_due <= self._loop.clock():
            self._timer_due = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._reap_later()
        return self._timer_due

    def _reap_later(self) -> None:
        if not self._reap_is_due:
            self._reap_is_due = True
            self._loop.defer(self._reap)

    def _reap(self) -> None:
        """Hand over the turn's answers, successes first: the gate counts failures in a row."""
        self._reap_is_due = False
        queued = 1
        while queued:
            queued, succeeded, failed = self._multi.info_read(256)
            for handle in succeeded:
                self._finish(handle, None)
            for handle, code, text in failed:
                self._finish(handle, (code, text))

    def _finish(self, handle: Handle, error: TransferError) -> None:
        self._multi.remove_handle(handle)
        post = self._running.pop(handle)
        answer, on_answer = post.make_answer(error), post.on_answer
        # Free before the callback: it may want to start the next request at once.
        self._idle.append(post)
        on_answer(answer)

    def _close(self) -> None:
        for handle in self._running:
            self._multi.remove_handle(handle)
        self._running.clear()
        self._multi.close()


class _Post:
    """A reusable curl handle and the answer that it is receiving."""

    on_answer: Callable[[Answer], None]

    def __init__(self, options: DestinationOptions, headers: tuple[str, ...]) -> None:
        self._options = options
        self._set_timeout_s = 0.0
        self._sent_bytes = 0
        self._received: list[bytes] = []
        self._received_bytes = 0
        self._head: list[bytes] = []
        self.handle = make_handle(options, headers)
        self.handle.setopt(pycurl.WRITEFUNCTION, self._receive)
        self.handle.setopt(pycurl.HEADERFUNCTION, self._head.append)

    def prepare(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        self.on_answer = on_answer
        self._received_bytes = 0
        self._received.clear()
        self._head.clear()
        self._sent_bytes = len(body)
        limit_s = timeout_s(self._options, len(body))
        if limit_s != self._set_timeout_s:
            self.handle.setopt(pycurl.TIMEOUT_MS, int(limit_s * 1000))
            self._set_timeout_s = limit_s
        self.handle.setopt(pycurl.POSTFIELDS, body)

    def _receive(self, data: bytes) -> int | None:
        if self._received_bytes < BODY_CAP_BYTES:
            self._received.append(data)
            self._received_bytes += len(data)
            return None
        return 0  # ends the transfer, and closes the connection

    def make_answer(self, error: TransferError) -> Answer:
        was_cut = error is not None and self._received_bytes >= BODY_CAP_BYTES
        if error is not None and not (was_cut and error[0] == pycurl.E_WRITE_ERROR):
            code, text = error
            is_ambiguous = self.handle.getinfo(pycurl.SIZE_UPLOAD_T) >= self._sent_bytes
            reason = f"{text or 'no answer'} (libcurl error {code})"
            return Answer(0, error=reason, is_ambiguous=is_ambiguous)
        if not self._is_head_complete():
            return Answer(0, error="the connection ended within the answer", is_ambiguous=True)
        headers = self._limit_headers()
        return answer_of(
            self.handle.getinfo(pycurl.RESPONSE_CODE),
            headers.get(b"x-sentry-rate-limits"),
            headers.get(b"retry-after"),
            b"".join(self._received),
        )

    def _is_head_complete(self) -> bool:
        """Whether an empty line ended the head. libcurl accepts the connection's end instead, but
        what a dying server has said by then is not an answer.
        """
        for line in reversed(self._head):
            if line in (b"\r\n", b"\n"):
                return True
            if line[:5] == b"HTTP/":
                break  # lines before it belong to a proxy's or an interim answer
        return False

    def _limit_headers(self) -> dict[bytes, str]:
        """The two headers that matter. Most lines are skipped by their first letter."""
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
                found.clear()  # lines before it belong to a proxy's or an interim answer
        return found


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
        pycurl.MAXAGE_CONN: IDLE_CONNECTION_AGE_S,
        # A name that moves is followed within both of these, though the old server still answers.
        pycurl.DNS_CACHE_TIMEOUT: int(NAME_REFRESH_S),
        pycurl.MAXLIFETIME_CONN: _CONNECTION_LIFETIME_S,
        pycurl.CONNECTTIMEOUT_MS: int(options.connect_timeout_s * 1000),
        # pycurl's wheel brings an OpenSSL that doesn't know the system's certificates.
        pycurl.CAINFO: authorities(options.ca_file),
    }
    if options.client_certificate is not None:
        path = os.fsencode(options.client_certificate)
        settings |= {pycurl.SSLCERT: path, pycurl.SSLKEY: path}
    for option, value in settings.items():
        handle.setopt(option, value)
    return handle
