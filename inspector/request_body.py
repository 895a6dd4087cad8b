"""Undoes a request's Content-Encoding, within a limit on what comes out."""

from __future__ import annotations

import importlib
import io
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final, Protocol, TypeAlias

import zstandard

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
