"""A destination's answers: parsed, and judged for the envelope and for the destination.

They are parsed by llhttp, or not at all if the same head was seen before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final, NamedTuple

import httptools
import structlog

from consumer_fleet.throttle import Throttle

# The part of an answer's body that is read.
BODY_CAP_BYTES: Final = 64 * 1024
_HEAD_CAP_BYTES: Final = 64 * 1024
_HEAD_END: Final = b"\r\n\r\n"
_VERSIONS: Final = ("1.1", "1.0")
# Heads differ by their Date, so there is a new one each second. Unique ones must not pile up.
_KNOWN_HEADS_MAX: Final = 256
# They are about the DSN, the address or the proxy, never about the envelope.
_REFUSALS: Final = frozenset({401, 403, 404, 405, 407})
_TRY_LATER: Final = frozenset({408, 425})
_DETAIL_CHARACTERS: Final = 300

_CHECK_ADDRESS: Final = "check the host, the path and the project id of its DSN"
_NOT_SENTRY: Final = (
    "it answers with a web page, as no Sentry does, so nothing counts as delivered: check the host "
    "and the path of its DSN, and whether a login or a proxy is in front of it"
)
_BLANKS: Final = b"\xef\xbb\xbf \t\r\n"
_ADVICE: Final = {
    401: "check the key in its DSN",
    403: "check that the project is enabled and that its DSN's key is active",
    404: _CHECK_ADDRESS,
    405: _CHECK_ADDRESS,
    407: "give the proxy's user and password in the environment (https_proxy)",
}


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
    #: A success whose body is HTML or XML.
    is_page: bool = False


#: Nearly every answer is this very object: telling it apart takes less than looking into it.
OK: Final = Answer(200)


def answer_of(status: int, rate_limits: str | None, retry_after: str | None, body: bytes) -> Answer:
    """The answer of a server: without its body where nothing reads it."""
    page = is_page(status, body)
    if 200 <= status < 300 and rate_limits is None and retry_after is None and not page:
        return OK if status == 200 else Answer(status)
    return Answer(status, rate_limits, retry_after, body, is_page=page)


class Verdict(Enum):
    """The meaning of an answer: exactly one of these."""

    ACCEPTED = auto()
    LATER = auto()  # no answer, or a problem of the server: retry the envelope
    LIMITED = auto()
    REFUSED = auto()  # the destination accepts nothing from us until somebody fixes it
    REJECTED = auto()  # this envelope is invalid, the next may be fine


def judge(status: int, *, is_page: bool = False) -> Verdict:
    """Classify a status; 0 means no answer."""
    if 200 <= status < 300:
        return Verdict.REFUSED if is_page else Verdict.ACCEPTED
    if status == 429:
        return Verdict.LIMITED
    # Redirects are not followed: the key would go to any server that the answer names.
    if 300 <= status < 400 or status in _REFUSALS:
        return Verdict.REFUSED
    if 400 <= status < 500 and status not in _TRY_LATER:
        return Verdict.REJECTED
    return Verdict.LATER


def is_page(status: int, body: bytes) -> bool:
    """Whether this success is a web page: something else than a Sentry has answered.

    A Sentry, a Relay and servers like them answer with JSON or with nothing. The content type
    does not tell: some label an empty body as HTML.
    """
    return 200 <= status < 300 and body.lstrip(_BLANKS).startswith(b"<")


def advice(status: int) -> str:
    """Say what a person can do about a refusal."""
    if 200 <= status < 300:
        return _NOT_SENTRY
    if 300 <= status < 400:
        return "its answer is a redirect, which is not followed: use the final address in its DSN"
    return _ADVICE.get(status, _CHECK_ADDRESS)


def describe(answer: Answer, secrets: tuple[str, ...]) -> str:
    """Describe an answer in one short line for a person, without the given keys."""
    if answer.status == 0:
        return answer.error
    text = " ".join(answer.body.decode("utf-8", "replace").split())
    for secret in secrets:
        text = text.replace(secret, "***")
    if len(text) > _DETAIL_CHARACTERS:
        text = text[:_DETAIL_CHARACTERS] + "…"
    return text or "(empty answer)"


log = structlog.get_logger(__name__)

_INTERVAL_S = 60.0


class TroubleLog:
    """Log a destination's troubles, each at most once a minute. It knows only the redacted DSN."""

    def __init__(self, destination: str, redacted_dsn: str, clock: Callable[[], float]) -> None:
        self._destination = destination
        self._dsn = redacted_dsn
        self._throttle = Throttle(clock)
        self._pause: dict[str, object] | None = None
        self._dropped: dict[str, int] = {}

    def paused(self, status: int | str, answer: str, advice: str) -> None:
        """The destination refused us. Pauses in quick succession are logged once."""
        self._pause = {"status": status, "answer": answer, "what_to_do": advice}
        if self._is_due("pause"):
            self._log_pause("destination_paused")

    def remind(self) -> None:
        """Log again that the destination is paused, a minute after the last line about it."""
        if self._pause is not None and self._is_due("pause"):
            self._log_pause("destination_still_paused")

    def backing_off(self, reason: str) -> None:
        """Too many failures in a row: only probes are sent."""
        if self._is_due("backing_off"):
            log.warning("destination_backing_off", destination=self._destination, reason=reason)

    def resumed(self) -> None:
        """A probe was answered: envelopes are sent freely again."""
        self._pause = None
        if self._is_due("resumed"):
            log.warning("destination_resumed", destination=self._destination, dsn=self._dsn)

    def throttled(self, limits: Mapping[str, float]) -> None:
        """The destination set limits; ``""`` among the categories means everything."""
        if limits and self._is_due("throttled"):
            log.warning(
                "destination_throttled",
                destination=self._destination,
                categories=sorted(name or "everything" for name in limits),
                retry_after_s=max(limits.values()),
            )

    def dropped(self, reason: str) -> None:
        """A destination that is not required lost an envelope."""
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        if self._is_due(f"dropped {reason}"):
            count = self._dropped.pop(reason)
            log.warning(
                "envelopes_dropped", destination=self._destination, reason=reason, count=count
            )

    def _log_pause(self, event: str) -> None:
        assert self._pause is not None  # both callers have just checked it
        log.error(event, destination=self._destination, dsn=self._dsn, **self._pause)

    def _is_due(self, kind: str) -> bool:
        return self._throttle.is_due(kind, _INTERVAL_S)


class InvalidAnswer(Exception):
    """The server sent something that is not an HTTP/1 answer."""


class KnownHead(NamedTuple):
    """A head that was parsed before, of an answer that left its connection open."""

    answer: Answer
    body_bytes: int
    # The body of a success is not read.
    is_body_read: bool


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
            if known is not None:
                answer, body_bytes, is_body_read = known
                if len(data) == head_end + body_bytes:
                    self.keeps_alive = True
                    self.answer = answer._replace(body=data[head_end:]) if is_body_read else answer
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
        # The next page, which may have the same head, has to be read too.
        if self.answer is None or self.answer.is_page:
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
        answer = OK if self.answer is OK else self.answer._replace(body=b"")
        is_body_read = answer.status >= 300 or answer.rate_limits is not None
        self._known_heads[head] = KnownHead(answer, body_bytes, is_body_read)

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
        rate_limits = ", ".join(limits) if limits else None
        return answer_of(self._status, rate_limits, retry_after, b"".join(self._body))

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
