"""Undoes a request's Content-Encoding, within a limit on what comes out."""

from __future__ import annotations

import importlib
import io
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import Final

import zstandard

_GZIP_WINDOW_BITS: Final = 31
_ZLIB_WINDOW_BITS: Final = 15
_BARE_DEFLATE_WINDOW_BITS: Final = -15


class BodyRefused(Exception):
    """The body can't be taken: ``status`` is the HTTP status to answer with."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """The decoded body. Never holds much more than ``limit_bytes`` of it.

    Raises BodyRefused: 413 above the limit, 415 for an encoding that is unknown or whose package
    is not installed, 400 for a body that is damaged or cut short.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        decoded = body
    else:
        decoder = _DECODERS.get(encoding)
        if decoder is None:
            raise BodyRefused(415, f"content encoding {encoding[:40]!r} is not supported")
        decoded = decoder(body, limit_bytes)
    if len(decoded) > limit_bytes:
        raise too_large(limit_bytes)
    return decoded


def too_large(limit_bytes: int) -> BodyRefused:
    return BodyRefused(413, f"the envelope is larger than {limit_bytes} bytes")


def _gzip(body: bytes, limit_bytes: int) -> bytes:
    return _inflate(body, limit_bytes, _GZIP_WINDOW_BITS)


def _deflate(body: bytes, limit_bytes: int) -> bytes:
    # HTTP means zlib's format by it, but many clients send it without zlib's header (RFC 9110,
    # 8.4.1.2). The low four bits of that header are 8.
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _inflate(body, limit_bytes, _ZLIB_WINDOW_BITS if is_zlib else _BARE_DEFLATE_WINDOW_BITS)


def _inflate(body: bytes, limit_bytes: int, window_bits: int) -> bytes:
    inflater = zlib.decompressobj(wbits=window_bits)
    try:
        decoded = inflater.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise BodyRefused(400, f"the body can't be decompressed: {error}") from error
    if len(decoded) <= limit_bytes and not inflater.eof:
        raise BodyRefused(400, "the compressed body is cut short")
    return decoded


def _brotli(body: bytes, limit_bytes: int) -> bytes:
    brotli = _import_brotli()
    inflater = brotli.Decompressor()
    if not hasattr(inflater, "can_accept_more_data"):
        # Before 1.2 a decoder could not be told to stop, so that a small body could fill memory.
        raise BodyRefused(415, "content encoding 'br' needs brotli 1.2 or later here")
    try:
        decoded = bytes(inflater.process(body, output_buffer_limit=limit_bytes + 1))
        # The limit ends a call early, not the stream: what is left is asked for with no more input.
        while len(decoded) <= limit_bytes and not inflater.is_finished():
            more = inflater.process(b"", output_buffer_limit=limit_bytes + 1 - len(decoded))
            if not more:
                raise BodyRefused(400, "the compressed body is cut short")
            decoded += more
    except brotli.error as error:
        raise BodyRefused(400, f"the body can't be decompressed: {error}") from error
    return decoded


def _zstd(body: bytes, limit_bytes: int) -> bytes:
    inflater = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024)
    try:
        announced: int = zstandard.frame_content_size(body)  # -1 where the frame does not say
        with inflater.stream_reader(io.BytesIO(body)) as reader:
            decoded = bytes(reader.read(limit_bytes + 1))
    except zstandard.ZstdError as error:
        raise BodyRefused(400, f"the body can't be decompressed: {error}") from error
    # The reader ends quietly where its input does.
    if len(decoded) < min(announced, limit_bytes + 1):
        raise BodyRefused(400, "the compressed body is cut short")
    return decoded


def _import_brotli() -> ModuleType:
    try:
        return importlib.import_module("brotli")
    except ImportError as error:
        raise BodyRefused(415, "content encoding 'br' needs the package 'brotli' here") from error


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
