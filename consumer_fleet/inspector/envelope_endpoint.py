"""``POST /api/{project}/envelope/``: accept envelopes like Sentry, from clients with the key."""

from __future__ import annotations

import asyncio
import hmac
import importlib
import io
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any, Final, Protocol, TypeAlias

import orjson
import structlog
import zstandard
from anyio import to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from consumer_fleet.capture.envelope import Envelope, parse
from consumer_fleet.errors import OutputError, RejectedMessage
from consumer_fleet.inspector.entry import MAX_ITEMS, DeliveryResponse, KafkaPosition, NewEntry
from consumer_fleet.inspector.store import Store

_GZIP_WINDOW_BITS: Final = 31
_ZLIB_WINDOW_BITS: Final = 15
_BARE_DEFLATE_WINDOW_BITS: Final = -15
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024

# Decoders read a body in slices and return pieces, so that a decompression bomb is noticed as soon
# as the limit is passed.
_SLICE_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
# zstd's decoder has no output limit: this few bytes decode to 8 MiB at most.
_ZSTD_SLICE_BYTES: Final = 256
# A body may have several gzip members or zstd frames, but each costs some time.
_PARTS: Final = 10_000

_Pieces: TypeAlias = Iterator[bytes]
_Decode: TypeAlias = Callable[[bytes], bytes]


class BodyRefused(Exception):
    """The body is refused with the HTTP status ``status``."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class TooLarge(BodyRefused):
    """The envelope, as received or decoded, is larger than the limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"the envelope is larger than {limit_bytes} bytes")


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Decode the body. Never holds much more than ``limit_bytes`` of it.

    Raises TooLarge (413); BodyRefused with 415 for an unknown encoding or a missing package, with
    400 for a damaged or truncated body or trailing data.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        if len(body) > limit_bytes:
            raise TooLarge(limit_bytes)
        return body
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise BodyRefused(415, f"content encoding {encoding[:40]!r} is not supported")
    decoded = io.BytesIO()  # grows in place and returns its bytes without a copy
    for piece in decode(body):
        if decoded.tell() + len(piece) > limit_bytes:
            raise TooLarge(limit_bytes)
        decoded.write(piece)
    return decoded.getvalue()


class _Decoder(Protocol):
    """The common interface of zlib's and zstandard's decoders."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes:
        """Data after the end."""

    @property
    def unconsumed_tail(self) -> bytes:
        """Input not yet decoded because of the output limit."""


def _gzip(body: bytes) -> _Pieces:
    return _inflate(body, _GZIP_WINDOW_BITS, _PARTS)


def _deflate(body: bytes) -> _Pieces:
    # HTTP defines it as zlib's format, but many clients omit zlib's header (RFC 9110, 8.4.1.2). The
    # low four bits of that header are 8.
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflate(body, _ZLIB_WINDOW_BITS if is_zlib else _BARE_DEFLATE_WINDOW_BITS, 1)


def _inflate(body: bytes, window_bits: int, parts: int) -> _Pieces:
    def start() -> tuple[_Decoder, _Decode]:
        decoder = zlib.decompressobj(window_bits)
        return decoder, lambda data: decoder.decompress(data, _PIECE_BYTES)

    try:
        yield from _decode_parts(_slices(body, _SLICE_BYTES), start, parts)
    except zlib.error as error:
        raise _damaged(error) from error


def _zstd(body: bytes) -> _Pieces:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)

    def start() -> tuple[_Decoder, _Decode]:
        decoder = decompressor.decompressobj()
        return decoder, decoder.decompress

    try:
        yield from _decode_parts(_slices(body, _ZSTD_SLICE_BYTES), start, _PARTS)
    except zstandard.ZstdError as error:
        raise _damaged(error) from error


def _decode_parts(
    slices: Iterator[bytes], start: Callable[[], tuple[_Decoder, _Decode]], parts: int
) -> _Pieces:
    """Decode consecutive parts, each with a new decoder."""
    decoder: _Decoder | None
    decoder, decode = start()
    for data_slice in slices:
        data = data_slice
        while data:
            if decoder is None:
                parts -= 1
                if parts == 0:
                    raise BodyRefused(400, "there is data after the end of the compressed body")
                decoder, decode = start()
            yield decode(data)
            if decoder.eof:
                data, decoder = decoder.unused_data, None
            else:
                data = decoder.unconsumed_tail
    if decoder is None:
        return
    while piece := decode(b""):  # all input is consumed, but not all output returned
        yield piece
    if not decoder.eof:
        raise _truncated()


def _brotli(body: bytes) -> _Pieces:
    brotli = _import_brotli()
    decoder = brotli.Decompressor()
    if not hasattr(decoder, "can_accept_more_data"):
        # Before 1.2 there was no output limit: a small body could fill the memory.
        raise BodyRefused(415, "content encoding 'br' requires brotli 1.2 or later")
    try:
        for data in _slices(body, _SLICE_BYTES):
            yield decoder.process(data, output_buffer_limit=_PIECE_BYTES)
            while not decoder.can_accept_more_data():
                yield decoder.process(b"", output_buffer_limit=_PIECE_BYTES)
        while not decoder.is_finished():  # all input is consumed, but not all output returned
            piece = decoder.process(b"", output_buffer_limit=_PIECE_BYTES)
            if not piece:
                raise _truncated()
            yield piece
    except brotli.error as error:
        raise _damaged(error) from error


def _slices(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def _damaged(error: Exception) -> BodyRefused:
    return BodyRefused(400, f"the body can't be decompressed: {error}")


def _truncated() -> BodyRefused:
    return BodyRefused(400, "the compressed body is truncated")


def _import_brotli() -> ModuleType:
    try:
        return importlib.import_module("brotli")
    except ImportError as error:
        raise BodyRefused(
            415, "the package 'brotli' for content encoding 'br' is not installed"
        ) from error


_DECODERS: Final[dict[str, Callable[[bytes], _Pieces]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}

log = structlog.get_logger(__name__)

_KEY = re.compile(r"(?:^|[\s,])sentry_key\s*=\s*([^\s,]+)")
_LARGEST = 2**63 - 1
_TOPIC_CHARS = 249  # Kafka's own limit
# Envelopes up to this size, received and decoded, are accepted at once. Larger ones are handled one
# at a time, to limit memory.
_SMALL_BYTES: Final = 512 * 1024
_LARGE_TIMEOUT_S: Final = 60.0


class EnvelopeEndpoint:
    """An ASGI app: one project with one key. An envelope is stored before the response."""

    def __init__(self, store: Store, *, project: str, key: str, limit_bytes: int) -> None:
        self._store = store
        self._project = project
        self._key = key.encode()
        self._limit_bytes = limit_bytes
        self._large = asyncio.Semaphore()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            response = await self._post(Request(scope, receive))
        else:
            response = JSONResponse({"detail": "send envelopes by POST"}, 405, {"Allow": "POST"})
        await response(scope, receive, send)

    async def _post(self, request: Request) -> Response:
        try:
            project = self._authenticated_project(request)
            return await self._take(request, project)
        except BodyRefused as error:
            return _refusal(error)
        except ClientDisconnect:
            return JSONResponse({"detail": "the request is incomplete"}, 400)  # nobody reads it
        except asyncio.CancelledError:  # the server's stop has waited long enough
            return JSONResponse({"detail": "the inspector is stopping"}, 503)

    async def _take(self, request: Request, project: str) -> Response:
        body, chunks = io.BytesIO(), request.stream()
        encoding = request.headers.get("content-encoding", "")
        small = min(_SMALL_BYTES, self._limit_bytes)
        is_complete = await _read(chunks, body, small)
        if is_complete:
            answer = self._accept(project, body, encoding, small)
            if answer.status_code != 413:
                return answer
        async with self._large:
            if not is_complete:
                await self._read_rest(chunks, body)
            # In a thread: it would block other requests.
            return await to_thread.run_sync(
                self._accept, project, body, encoding, self._limit_bytes
            )

    async def _read_rest(self, chunks: AsyncIterator[bytes], body: io.BytesIO) -> None:
        try:
            async with asyncio.timeout(_LARGE_TIMEOUT_S):  # others are waiting
                is_complete = await _read(chunks, body, self._limit_bytes)
        except TimeoutError as error:
            detail = f"a large envelope must arrive within {_LARGE_TIMEOUT_S:g} s"
            raise BodyRefused(408, detail) from error
        if not is_complete:
            raise TooLarge(self._limit_bytes)

    def _accept(self, project: str, body: io.BytesIO, encoding: str, limit_bytes: int) -> Response:
        """Store the envelope; returns refusals too.

        An exception that left the thread would keep the decoded body in memory until the next full
        garbage collection.
        """
        try:
            raw = decompress(body.getvalue(), encoding, limit_bytes)
            body.close()  # the decoded body is enough to hold
            envelope = parse(raw, MAX_ITEMS)
        except BodyRefused as error:
            return _refusal(error)
        except RejectedMessage as error:
            return _refusal(BodyRefused(400, str(error)))
        now = time.time()
        entry = NewEntry(
            raw,
            envelope,
            received_at=now,
            project=project,
            origin=origin_of(envelope),
            answers=(DeliveryResponse("inspector", 200, "", now),),
        )
        try:
            self._store.add(entry)
        except OutputError as error:
            log.error("inspector_store_failed", error=str(error))
            return _refusal(BodyRefused(503, "the store can't be written"))
        # Like Relay: no id in the response if the envelope has none.
        answer = {} if envelope.event_id is None else {"id": envelope.event_id}
        return Response(orjson.dumps(answer), media_type="application/json")

    def _authenticated_project(self, request: Request) -> str:
        keys = _KEY.findall(request.headers.get("x-sentry-auth", ""))
        if request.scope["query_string"]:
            keys += request.query_params.getlist("sentry_key")
        if len(keys) != 1:
            problem = "is missing" if not keys else "occurs more than once"
            raise BodyRefused(401, f"sentry_key {problem}")
        project: str = request.path_params["project"]
        if not hmac.compare_digest(keys[0].encode(), self._key):
            raise BodyRefused(403, "wrong sentry_key")
        if project != self._project:
            raise BodyRefused(403, "the key belongs to another project")
        return project


def _refusal(refused: BodyRefused) -> Response:
    return JSONResponse({"detail": refused.detail}, refused.status)


async def _read(chunks: AsyncIterator[bytes], body: io.BytesIO, limit_bytes: int) -> bool:
    """Append chunks to ``body`` up to ``limit_bytes``. Returns whether the body is complete."""
    async for chunk in chunks:
        body.write(chunk)
        if body.tell() > limit_bytes:
            return False
    return True


def origin_of(envelope: Envelope) -> KafkaPosition | None:
    """The Kafka position in the envelope's header, if it has a valid one."""
    if b'"kafka"' not in envelope.header:
        return None
    members: Any = orjson.loads(envelope.header).get("kafka")
    if not isinstance(members, dict):
        return None
    topic = members.get("topic")
    partition, offset = _count(members.get("partition")), _count(members.get("offset"))
    if not (isinstance(topic, str) and 0 < len(topic) <= _TOPIC_CHARS):
        return None
    if partition is None or offset is None:
        return None
    return KafkaPosition(topic, partition, offset)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _LARGEST else None
