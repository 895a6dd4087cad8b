"""Parse HTTP/1 answers: by llhttp, or without parsing if the same head was seen before."""

from __future__ import annotations

from typing import Final, NamedTuple

import httptools

from consumer_fleet.capture.posts import BODY_CAP_BYTES, Answer

_HEAD_CAP_BYTES: Final = 64 * 1024
_HEAD_END: Final = b"\r\n\r\n"
_VERSIONS: Final = ("1.1", "1.0")
# Heads differ by their Date, so there is a new one each second. Unique ones must not pile up.
_KNOWN_HEADS_MAX: Final = 256


class InvalidAnswer(Exception):
    """The server sent something that is not an HTTP/1 answer."""


class KnownHead(NamedTuple):
    """A head that was parsed before, of an answer that left its connection open."""

    answer: Answer
    body_bytes: int


class AnswerParser:
    """Parse the answers of one connection, one after the other.

    Call `begin` before each request. ``answer`` is None until the answer is complete.
    """

    def __init__(self, known_heads: dict[bytes, KnownHead]) -> None:
        self._known_heads = known_heads
        self._parser: httptools.HttpResponseParser | None = None
        # Whether an answer took more than the look at known heads.
        self._is_used = True
        self.answer: Answer | None = None
        self.begin()

    def begin(self) -> None:
        """Expect the next answer."""
        self.answer = None
        self.keeps_alive = False
        # Whether a byte of the answer has arrived.
        self.has_begun = False
        if self._is_used:
            self._reset()

    def _reset(self) -> None:
        self._is_used = False
        self._status = 0
        self._is_head_complete = False
        self._ends_with_connection = False
        self._head_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises InvalidAnswer: the connection can't be used any more."""
        if self.answer is not None:
            self.keeps_alive = False  # nothing may follow an answer before the next request
            return
        head_end = -1
        if not self.has_begun:
            self.has_begun = True
            head_end = data.find(_HEAD_END) + 4
            known = self._known_heads.get(data[:head_end])
            if known is not None and len(data) == head_end + known.body_bytes:
                self.keeps_alive = True
                self.answer = known.answer
                if known.answer.status >= 300 or known.answer.rate_limits is not None:
                    self.answer = known.answer._replace(body=data[head_end:])
                return
        self._parse(data)
        if self.keeps_alive and head_end > 3:
            self._remember(data[:head_end], len(data) - head_end)

    def _parse(self, data: bytes) -> None:
        self._is_used = True
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        if not self._is_head_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.answer is None:
                raise InvalidAnswer(str(error) or type(error).__name__) from error
            self.keeps_alive = False  # the answer is complete; what follows it is not valid
        if self._body_bytes >= BODY_CAP_BYTES and self.answer is None:
            self.keeps_alive = False
            self.answer = self._make_answer()
        if not self._is_head_complete and self._head_bytes > _HEAD_CAP_BYTES:
            raise InvalidAnswer("the head is larger than 64 KiB")

    def end(self) -> bool:
        """The connection has ended. Returns whether that completes the answer."""
        if self.answer is None and self._is_head_complete and self._ends_with_connection:
            self.answer = self._make_answer()
        self.keeps_alive = False
        return self.answer is not None

    def _remember(self, head: bytes, body_bytes: int) -> None:
        if self.answer is None:
            return
        # Only a head that tells by itself how long the answer is: no chunks, no interim answer.
        names = [name.lower() for name, _ in self._headers]
        declared = [value for name, value in self._headers if name.lower() == b"content-length"]
        if b"transfer-encoding" in names or declared != [b"%d" % body_bytes]:
            return
        if head.count(b"HTTP/") != 1:
            return
        if len(self._known_heads) >= _KNOWN_HEADS_MAX:
            self._known_heads.clear()
        self._known_heads[head] = KnownHead(self.answer._replace(body=b""), body_bytes)

    def _make_answer(self) -> Answer:
        limits: list[str] = []
        retry_after: str | None = None
        for name, value in self._headers:
            # Most headers are skipped by their first letter.
            if name[:1] in b"RrXx":
                lower = name.lower()
                if lower == b"retry-after":
                    retry_after = value.decode("latin-1").strip()
                elif lower == b"x-sentry-rate-limits":
                    limits.append(value.decode("latin-1").strip())
        if 200 <= self._status < 300 and not limits and retry_after is None:
            return Answer(self._status)  # nothing reads the body of a success
        return Answer(
            self._status,
            rate_limits=", ".join(limits) if limits else None,
            retry_after=retry_after,
            body=b"".join(self._body),
        )

    # -- called by httptools --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.answer is not None:
            self.keeps_alive = False  # another answer, to a request that was not made
            return
        self._is_head_complete = False
        self._headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.answer is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.answer is not None or self._parser is None:
            return
        if self._parser.get_http_version() not in _VERSIONS:
            raise InvalidAnswer(f"HTTP version {self._parser.get_http_version()}")
        self._status = self._parser.get_status_code()
        self._is_head_complete = True
        fields = {name.lower(): value.lower() for name, value in self._headers}
        is_chunked = fields.get(b"transfer-encoding", b"").rstrip().endswith(b"chunked")
        self._ends_with_connection = (
            not is_chunked
            and (b"content-length" not in fields or b"transfer-encoding" in fields)
            and self._status >= 200
            and self._status not in (204, 304)
        )

    def on_body(self, data: bytes) -> None:
        if self.answer is None and self._body_bytes < BODY_CAP_BYTES:
            self._body.append(data)
            self._body_bytes += len(data)

    def on_message_complete(self) -> None:
        if self.answer is not None or self._parser is None:
            return
        if self._status < 200:  # an interim answer: the real one follows
            self._is_head_complete = False
            return
        self.keeps_alive = bool(self._parser.should_keep_alive())
        self.answer = self._make_answer()
