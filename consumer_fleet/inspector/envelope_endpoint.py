"""``POST /api/{project}/envelope/``: takes envelopes like a Sentry, from whoever has the key."""

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
from consumer_fleet.inspector.entry import MAX_ITEMS, Answer, NewEntry, Origin
from consumer_fleet.inspector.store import Store

_GZIP_WINDOW_BITS: Final = 31
_ZLIB_WINDOW_BITS: Final = 15
_BARE_DEFLATE_WINDOW_BITS: Final = -15
_ZSTD_WINDOW_BYTES: Final = 8 * 1024 * 1024

# Decoders get a body in slices and give what comes of it in pieces, so that a small body which
# would fill the memory is noticed at its first piece too many.
_SLICE_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 256 * 1024
# zstd's decoder can't be told to stop: at most 8 MiB come of so few bytes.
_ZSTD_SLICE_BYTES: Final = 256
# gzip's members and zstd's frames may follow one another, but each costs some time.
_PARTS: Final = 10_000

_Pieces: TypeAlias = Iterator[bytes]
_Decode: TypeAlias = Callable[[bytes], bytes]


class BodyRefused(Exception):
    """The body can't be taken: ``status`` is the HTTP status to answer with."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class TooLarge(BodyRefused):
    """The envelope has more bytes than the limit, received or decoded."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"the envelope is larger than {limit_bytes} bytes")


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """The decoded body. Never holds much more than ``limit_bytes`` of it.

    Raises TooLarge (413); BodyRefused with 415 for an encoding that is unknown or whose package is
    not installed, and with 400 for a body that is damaged, cut short, or followed by something.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        if len(body) > limit_bytes:
            raise TooLarge(limit_bytes)
        return body
    decode = _DECODERS.get(encoding)
    if decode is None:
        raise BodyRefused(415, f"content encoding {encoding[:40]!r} is not supported")
    decoded = io.BytesIO()  # it grows in place, and gives its bytes away without a copy
    for piece in decode(body):
        if decoded.tell() + len(piece) > limit_bytes:
            raise TooLarge(limit_bytes)
        decoded.write(piece)
    return decoded.getvalue()


class _Decoder(Protocol):
    """What the decoders of zlib and zstandard have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes:
        """What follows the end."""

    @property
    def unconsumed_tail(self) -> bytes:
        """What was not looked at, as there was no room for more output."""


def _gzip(body: bytes) -> _Pieces:
    return _inflate(body, _GZIP_WINDOW_BITS, _PARTS)


def _deflate(body: bytes) -> _Pieces:
    # HTTP means zlib's format by it, but many clients send it without zlib's header (RFC 9110,
    # 8.4.1.2). The low four bits of that header are 8.
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
    """Decode parts that follow one another, each with a decoder of its own."""
    decoder: _Decoder | None
    decoder, decode = start()
    for data_slice in slices:
        data = data_slice
        while data:
            if decoder is None:
                parts -= 1
                if parts == 0:
                    raise BodyRefused(400, "something follows the end of the compressed body")
                decoder, decode = start()
            yield decode(data)
            if decoder.eof:
                data, decoder = decoder.unused_data, None
            else:
                data = decoder.unconsumed_tail
    if decoder is None:
        return
    while piece := decode(b""):  # all input is in, but not all output is out
        yield piece
    if not decoder.eof:
        raise _cut_short()


def _brotli(body: bytes) -> _Pieces:
    brotli = _import_brotli()
    decoder = brotli.Decompressor()
    if not hasattr(decoder, "can_accept_more_data"):
        # Before 1.2 a decoder could not be told to stop, so that a small body could fill memory.
        raise BodyRefused(415, "content encoding 'br' needs brotli 1.2 or later here")
    try:
        for data in _slices(body, _SLICE_BYTES):
            yield decoder.process(data, output_buffer_limit=_PIECE_BYTES)
            while not decoder.can_accept_more_data():
                yield decoder.process(b"", output_buffer_limit=_PIECE_BYTES)
        while not decoder.is_finished():  # all input is in, but not all output is out
            piece = decoder.process(b"", output_buffer_limit=_PIECE_BYTES)
            if not piece:
                raise _cut_short()
            yield piece
    except brotli.error as error:
        raise _damaged(error) from error


def _slices(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def _damaged(error: Exception) -> BodyRefused:
    return BodyRefused(400, f"the body can't be decompressed: {error}")


def _cut_short() -> BodyRefused:
    return BodyRefused(400, "the compressed body is cut short")


def _import_brotli() -> ModuleType:
    try:
        return importlib.import_module("brotli")
    except ImportError as error:
        raise BodyRefused(415, "content encoding 'br' needs the package 'brotli' here") from error


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
# Up to this, received and decoded, an envelope is taken in at once. Larger ones wait for one
# another, so that they cost the memory of one of them.
_SMALL_BYTES: Final = 512 * 1024
_LARGE_TIMEOUT_S: Final = 60.0


class EnvelopeEndpoint:
    """An ASGI app: one project with one key. What is accepted is stored before it is answered."""

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
            response = JSONResponse({"detail": "envelopes are posted"}, 405, {"Allow": "POST"})
        await response(scope, receive, send)

    async def _post(self, request: Request) -> Response:
        try:
            project = self._authenticated_project(request)
            return await self._take(request, project)
        except BodyRefused as error:
            return _refusal(error)
        except ClientDisconnect:
            return JSONResponse({"detail": "the request was cut short"}, 400)  # to nobody
        except asyncio.CancelledError:  # by the server's stop, which has waited long enough
            return JSONResponse({"detail": "the inspector stops"}, 503)

    async def _take(self, request: Request, project: str) -> Response:
        body, chunks = io.BytesIO(), request.stream()
        encoding = request.headers.get("content-encoding", "")
        small = min(_SMALL_BYTES, self._limit_bytes)
        is_whole = await _read(chunks, body, small)
        if is_whole:
            answer = self._accept(project, body, encoding, small)
            if answer.status_code != 413:
                return answer
        async with self._large:
            if not is_whole:
                await self._read_rest(chunks, body)
            # In a thread: it would hold up the other requests.
            return await to_thread.run_sync(
                self._accept, project, body, encoding, self._limit_bytes
            )

    async def _read_rest(self, chunks: AsyncIterator[bytes], body: io.BytesIO) -> None:
        try:
            async with asyncio.timeout(_LARGE_TIMEOUT_S):  # others wait
                is_whole = await _read(chunks, body, self._limit_bytes)
        except TimeoutError as error:
            detail = f"a large envelope must arrive within {_LARGE_TIMEOUT_S:g} s"
            raise BodyRefused(408, detail) from error
        if not is_whole:
            raise TooLarge(self._limit_bytes)

    def _accept(self, project: str, body: io.BytesIO, encoding: str, limit_bytes: int) -> Response:
        """The answer, also where it is a refusal.

        An error that left the thread would keep all that was decoded until the next full garbage
        collection.
        """
        try:
            raw = decompress(body.getvalue(), encoding, limit_bytes)
            body.close()  # what is decoded is enough to hold
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
            answers=(Answer("inspector", 200, "", now),),
        )
        try:
            self._store.add(entry)
        except OutputError as error:
            log.error("inspector_store_failed", error=str(error))
            return _refusal(BodyRefused(503, "the store can't be written"))
        # Relay leaves the id out where an envelope has none.
        answer = {} if envelope.event_id is None else {"id": envelope.event_id}
        return Response(orjson.dumps(answer), media_type="application/json")

    def _authenticated_project(self, request: Request) -> str:
        keys = _KEY.findall(request.headers.get("x-sentry-auth", ""))
        if request.scope["query_string"]:
            keys += request.query_params.getlist("sentry_key")
        if len(keys) != 1:
            problem = "missing" if not keys else "given more than once"
            raise BodyRefused(401, f"the authorization (sentry_key) is {problem}")
        project: str = request.path_params["project"]
        if not hmac.compare_digest(keys[0].encode(), self._key):
            raise BodyRefused(403, "the key is not this project's")
        if project != self._project:
            raise BodyRefused(403, "the key belongs to another project")
        return project


def _refusal(refused: BodyRefused) -> Response:
    return JSONResponse({"detail": refused.detail}, refused.status)


async def _read(chunks: AsyncIterator[bytes], body: io.BytesIO, limit_bytes: int) -> bool:
    """Add chunks to ``body`` until it has more than ``limit_bytes``; whether it is whole."""
    async for chunk in chunks:
        body.write(chunk)
        if body.tell() > limit_bytes:
            return False
    return True


def origin_of(envelope: Envelope) -> Origin | None:
    """Where the header says that the envelope was in Kafka, if it does so in the known form."""
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
    return Origin(topic, partition, offset)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= _LARGEST else None
