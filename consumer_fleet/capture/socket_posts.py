"""POST requests over connections of our own: for destinations without a proxy."""

from __future__ import annotations

import importlib
import math
import os
import ssl
from collections.abc import Callable
from functools import partial

from consumer_fleet.capture.answers import Answer, KnownHead
from consumer_fleet.capture.delivery_loop import (
    IDLE_CONNECTION_AGE_S,
    SMALL_BODY_BYTES,
    DeliveryLoop,
    Posts,
    timeout_s,
)
from consumer_fleet.capture.dialing import Resolver, authorities, proxy_from_environment
from consumer_fleet.capture.dsn import client_name
from consumer_fleet.capture.http_connection import HttpConnection
from consumer_fleet.capture.options import DestinationOptions


def open_posts(loop: DeliveryLoop, options: DestinationOptions, headers: tuple[str, ...]) -> Posts:
    """Connections of our own, or libcurl's where the environment asks for a proxy."""
    if not proxy_from_environment(options.dsn.envelope_url):
        return SocketPosts(loop, options, headers)
    # Imported only where it is used: libcurl takes memory in each worker.
    curl_posts = importlib.import_module("consumer_fleet.capture.curl_posts")
    posts: Posts = curl_posts.CurlPosts(loop, options, headers)
    return posts


class SocketPosts:
    """A pool of kept-alive connections; at most ``connections`` requests at a time."""

    def __init__(
        self, loop: DeliveryLoop, options: DestinationOptions, headers: tuple[str, ...]
    ) -> None:
        dsn = options.dsn
        self._options = options
        self._host = dsn.host.strip("[]")
        self._head = _request_head(options, headers)
        self._connections: list[HttpConnection] = []
        self._idle: list[HttpConnection] = []
        self._timeout_s = timeout_s(options, 0)
        # How many more requests may start.
        self.idle = options.connections
        self._next_due = math.inf
        self._context: ssl.SSLContext | None = None
        self.loop = loop
        self.resolver = Resolver(self._host, dsn.port, loop)
        self.known_heads: dict[bytes, KnownHead] = {}
        self.session: ssl.SSLSession | None = None
        self.is_tls = dsn.scheme == "https"
        loop.attach(self._turn, self._close)

    def post(self, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        size = len(body)
        now = self.loop.clock()
        if now >= self.resolver.due:
            self.resolver.refresh()
        connection = self._take_idle(now)
        # For most bodies the same; a comparison costs less than a call.
        patience_s = self._timeout_s if size < SMALL_BODY_BYTES else timeout_s(self._options, size)
        connection.deadline = deadline = now + patience_s
        if deadline < self._next_due:  # noqa: PLR1730 - a call takes longer
            self._next_due = deadline
        self.idle -= 1
        connection.start(b"%b%d\r\n\r\n" % (self._head, size), body, on_answer)

    def _take_idle(self, now: float) -> HttpConnection:
        while self._idle:
            # The one used last is the least likely to have been closed by the server.
            connection = self._idle.pop()
            if connection.is_open and now - connection.idle_since < IDLE_CONNECTION_AGE_S:
                return connection
            self._discard(connection)
        connection = HttpConnection(self)
        connection.connect_deadline = now + self._options.connect_timeout_s
        self._connections.append(connection)
        self._next_due = now  # it needs a turn to connect
        return connection

    def finished(self, connection: HttpConnection, answer: Answer, *, is_reusable: bool) -> None:
        on_answer = connection.on_answer
        assert on_answer is not None
        connection.on_answer = None
        self.idle += 1
        if is_reusable:
            connection.idle_since = now = self.loop.now
            self._idle.append(connection)
            due = now + IDLE_CONNECTION_AGE_S
            if due < self._next_due:  # noqa: PLR1730 - a call takes longer
                self._next_due = due
        else:
            self._discard(connection)
        if answer.status:
            on_answer(answer)
        else:
            # After the turn's answers: the gate counts failures in a row.
            self.loop.defer(partial(on_answer, answer))

    def _discard(self, connection: HttpConnection) -> None:
        connection.close()
        self._connections.remove(connection)

    def _turn(self) -> float:
        now = self.loop.clock()
        if now < self._next_due and not self.resolver.has_news:
            return self._next_due
        if self.resolver.has_news:
            self.resolver.has_news = False
            for connection in self._connections:
                connection.check_address()
        old = [each for each in self._idle if not _is_usable(each, now)]
        for connection in old:
            self._idle.remove(connection)
            self._discard(connection)
        due = min(
            (each.idle_since + IDLE_CONNECTION_AGE_S for each in self._idle), default=math.inf
        )
        for connection in list(self._connections):
            due = min(due, connection.turn(now))
        self._next_due = due
        return due

    def _close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._idle.clear()

    def tls_object(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        if self._context is None:
            self._context = _make_context(self._options)
        return self._context.wrap_bio(
            incoming, outgoing, server_hostname=self._host, session=self.session
        )


def _is_usable(connection: HttpConnection, now: float) -> bool:
    is_fresh = now - connection.idle_since < IDLE_CONNECTION_AGE_S
    return connection.is_open and is_fresh and not connection.has_moved


def _request_head(options: DestinationOptions, headers: tuple[str, ...]) -> bytes:
    """The head of every request, up to the length of its body."""
    dsn = options.dsn
    is_default_port = dsn.port == {"http": 80, "https": 443}[dsn.scheme]
    lines = [
        f"POST {dsn.path}api/{dsn.project_id}/envelope/ HTTP/1.1",
        f"Host: {dsn.host if is_default_port else f'{dsn.host}:{dsn.port}'}",
        f"User-Agent: {client_name()}",
        "Accept: */*",
        *headers,
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode()


def _make_context(options: DestinationOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(os.fsdecode(authorities(options.ca_file)))
    # As in libcurl: a trusted certificate ends the chain, whether or not it is a root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    if options.client_certificate is not None:
        context.load_cert_chain(options.client_certificate)
    return context
