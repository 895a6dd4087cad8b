"""A kept-alive HTTP/1.1 connection, plain or TLS, and its present request."""

from __future__ import annotations

import math
import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from consumer_fleet.capture.answers import Answer, AnswerParser, InvalidAnswer, KnownHead
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.dialing import Dial, Resolver

_READ_BYTES: Final = 16 * 1024
# From here on, copying the body into one piece with its head takes longer than sending two pieces.
_IN_PIECES_BYTES: Final = 16 * 1024
_OUT: Final = select.EPOLLOUT
_READ_MASK: Final = select.EPOLLIN | select.EPOLLRDHUP
_WRITE_MASK: Final = _READ_MASK | _OUT
_CUT: Final = "the connection ended within the answer"
_NO_ANSWER: Final = "the connection ended without an answer"


class Pool(Protocol):
    """The owner of a connection."""

    loop: DeliveryLoop
    resolver: Resolver
    known_heads: dict[bytes, KnownHead]
    session: ssl.SSLSession | None
    is_tls: bool

    def tls_object(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Begin TLS on a new connection. Raises OSError or ValueError."""

    def finished(self, connection: HttpConnection, answer: Answer, *, is_reusable: bool) -> None:
        """The connection's request has ended."""


class HttpConnection:
    """A connection that is opened for its first request and then serves others.

    A request is ambiguous once its last byte was handed to the kernel.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = pool.loop
        self._sock: socket.socket | None = None
        self._dial: Dial | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming = self._outgoing = _NO_BIO
        self._has_saved_session = False
        # For requests: it is connected, and the TLS handshake is done.
        self.is_open = False
        # The name of its server has other addresses by now: its present request is the last.
        self.has_moved = False
        self._head = self._body = b""
        self._unsent: memoryview | None = None  # None: the whole request was sent
        self._parser = AnswerParser(pool.known_heads)
        self.on_answer: Callable[[Answer], None] | None = None
        self.connect_deadline = math.inf
        self.deadline = math.inf
        self.idle_since = 0.0

    # -- for the pool ---------------------------------------------------------------------------

    def start(self, head: bytes, body: bytes, on_answer: Callable[[Answer], None]) -> None:
        """Send a request, once connected: `turn` connects. The pool sets the deadlines."""
        self.on_answer = on_answer
        self._parser.begin()
        if self.is_open and self._tls is None and len(body) < _IN_PIECES_BYTES:
            self._send(head + body)  # nearly always
            return
        self._head = head
        self._body = body
        if self.is_open:
            self._send_request()
        else:
            self._dial = Dial(self._loop, self._pool.resolver, self._on_dialled)

    def turn(self, now: float) -> float:
        """Do everything that is due; returns when to be called again."""
        if self.on_answer is None:
            return math.inf
        if now >= self.deadline:
            self._fail("no answer in time")
        elif now >= self.connect_deadline and not self.is_open:
            self._fail("no connection in time")
        elif self._dial is not None:
            return min(self._dial.turn(now), self.connect_deadline, self.deadline)
        else:
            return self.deadline if self.is_open else min(self.connect_deadline, self.deadline)
        return math.inf

    def check_address(self) -> None:
        """Called when the name of its server has been resolved again."""
        if self._sock is not None and self.is_open:
            with suppress(OSError):  # it is broken, and about to be noticed
                self.has_moved = not self._pool.resolver.has(self._sock.getpeername())

    def close(self) -> None:
        """Close the socket. No callback is called any more."""
        self.on_answer = None
        self.is_open = False
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._sock is not None:
            self._loop.unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None

    # -- connecting -----------------------------------------------------------------------------

    def _on_dialled(self, sock: socket.socket | None, error: str) -> None:
        self._dial = None
        if sock is None:
            self._fail(error)
            return
        self._sock = sock
        self._loop.watch(sock.fileno(), _READ_MASK, self._on_ready)
        if not self._pool.is_tls:
            self.is_open = True
            self._send_request()
            return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self._tls = self._pool.tls_object(self._incoming, self._outgoing)
        except (OSError, ValueError) as failure:
            self._fail(f"TLS: {failure}")
            return
        self._shake_hands(self._tls)

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send(self._outgoing.read())
            return
        except ssl.SSLError as error:
            self._send(self._outgoing.read())  # the alert tells the server why
            self._fail(f"TLS: {_describe_tls(error)}")
            return
        self.is_open = True
        self._send(self._outgoing.read())
        if self._sock is not None:
            self._send_request()

    # -- sending --------------------------------------------------------------------------------

    def _send_request(self) -> None:
        head, body = self._head, self._body
        self._head = self._body = b""
        if self._tls is not None:
            request = head + body
            try:
                self._tls.write(request)
            except ssl.SSLError as error:
                self._unsent = memoryview(request)
                self._fail(f"TLS: {_describe_tls(error)}")
                return
            self._send(self._outgoing.read())
        elif len(body) < _IN_PIECES_BYTES:
            self._send(head + body)
        else:
            self._send_pieces(head, body)

    def _send_pieces(self, head: bytes, body: bytes) -> None:
        """Send a plain request without copying its body."""
        if self._sock is None:
            return
        try:
            sent = self._sock.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._unsent = memoryview(body)
            self._on_broken(error)
            return
        if sent < len(head):
            self._unsent = memoryview(head[sent:] + body)
        elif sent < len(head) + len(body):
            self._unsent = memoryview(body)[sent - len(head) :]
        else:
            return
        self._loop.rewatch(self._sock.fileno(), _WRITE_MASK)

    def _send(self, data: bytes) -> None:
        if self._unsent is not None:  # after the rest of the handshake
            self._unsent = memoryview(bytes(self._unsent) + data)
            return
        if self._sock is None or not data:
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._unsent = memoryview(data)
            self._on_broken(error)
            return
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._loop.rewatch(self._sock.fileno(), _WRITE_MASK)

    def _send_rest(self) -> None:
        if self._sock is None or self._unsent is None:
            return
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._on_broken(error)
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = None
            self._loop.rewatch(self._sock.fileno(), _READ_MASK)
            if self._parser.answer is not None:
                self._finish()

    def _on_broken(self, error: OSError) -> None:
        """The server reads no more: it may have sent an answer before it closed the connection."""
        while self.on_answer is not None and self._sock is not None:
            try:
                data = self._sock.recv(_READ_BYTES)
            except OSError:
                break
            if not data:
                break
            self._take(data)
        if self.on_answer is not None:
            self._end_early(f"the connection broke while sending: {error.strerror}")

    def _end_early(self, error: str) -> None:
        """The connection has ended before the whole request was sent.

        Only a success does not count: the server can't have accepted what it did not get.
        """
        if self._parser.end() and not _is_success(self._parser.answer):
            self._finish()
        else:
            self._fail(error)

    # -- receiving ------------------------------------------------------------------------------

    def _on_ready(self, mask: int) -> None:
        if mask & _OUT:
            self._send_rest()
        sock = self._sock
        if sock is None or not mask & ~_OUT:
            return
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error.strerror or "connection error")
            return
        if self._tls is None and data:
            self._feed(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Take bytes from the socket; none means that the connection has ended."""
        if self._tls is None:
            self._feed(data) if data else self._end("")
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        if not self.is_open:
            self._shake_hands(self._tls)
            if not self.is_open:
                return
        self._read_tls(self._tls)

    def _read_tls(self, tls: ssl.SSLObject) -> None:
        # Asking for more than has arrived costs an exception, as much as the rest of a read. An
        # answer's first read is always worth a try.
        has_more = True
        while has_more and self._sock is not None:
            try:
                plain = tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                plain = b""
            except ssl.SSLError as error:  # also an end without a closing notice: a cut
                self._parser.keeps_alive = False
                self._fail(f"TLS: {_describe_tls(error)}")
                return
            if not plain:
                self._end("")
                return
            self._feed(plain)
            has_more = self._incoming.pending > 0 or tls.pending() > 0 or self._incoming.eof
        if self._outgoing.pending:  # the server asked for new keys
            self._send(self._outgoing.read())

    def _feed(self, data: bytes) -> None:
        if self.on_answer is None:
            self._drop()  # bytes without a request
            return
        parser = self._parser
        try:
            parser.feed(data)
        except InvalidAnswer as error:
            self._fail(f"not a valid answer: {error}")
            return
        if parser.answer is None:
            return
        if self._unsent is None and self._tls is None:
            is_reusable = parser.keeps_alive and not self.has_moved
            self._pool.finished(self, parser.answer, is_reusable=is_reusable)
        else:
            self._finish()

    def _end(self, error: str) -> None:
        """The server has closed the connection, or it broke."""
        if self.on_answer is None:
            self._drop()
        elif self._unsent is not None:
            self._end_early(error or "the connection ended before the whole request was sent")
        elif not error and self._parser.end():
            self._finish()
        else:
            self._fail(error or (_CUT if self._parser.has_begun else _NO_ANSWER))

    # -- ends -----------------------------------------------------------------------------------

    def _finish(self) -> None:
        answer = self._parser.answer
        assert answer is not None
        is_whole = self._unsent is None
        if not is_whole and _is_success(answer):
            return  # the server can't have accepted what it did not get: the upload goes on
        if self._tls is not None and not self._has_saved_session:
            self._has_saved_session = True
            self._pool.session = self._tls.session
        self._pool.finished(
            self,
            answer,
            is_reusable=is_whole
            and self._parser.keeps_alive
            and self.is_open
            and not self.has_moved,
        )

    def _fail(self, error: str) -> None:
        if self.on_answer is None:
            self._drop()
            return
        is_ambiguous = self.is_open and self._unsent is None
        self._pool.finished(
            self, Answer(0, error=error, is_ambiguous=is_ambiguous), is_reusable=False
        )

    def _drop(self) -> None:
        """Close an idle connection; the pool skips closed ones."""
        self.close()


_NO_BIO: Final = ssl.MemoryBIO()


def _is_success(answer: Answer | None) -> bool:
    return answer is not None and 200 <= answer.status < 300


def _describe_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    return (error.reason or str(error)).replace("_", " ").lower()
