"""Compression of request bodies."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Final, Literal, TypeAlias

from consumer_fleet.errors import ConfigurationError

Compression: TypeAlias = Literal["auto", "none", "gzip", "zstd", "br"]

_GZIP_WINDOW_BITS: Final = 31  # zlib's way of asking for gzip's header and trailer
# The fastest useful levels: the network is rarely slower than a higher level of compression.
_GZIP_LEVEL: Final = 1
_ZSTD_LEVEL: Final = 1
_BROTLI_QUALITY: Final = 1


@dataclass(frozen=True, slots=True)
class Compressor:
    """``encoding`` is the value of Content-Encoding; None leaves bodies as they are."""

    encoding: str | None
    compress: Callable[[bytes], bytes]


def choose_compressor(compression: Compression, scheme: str) -> Compressor:
    """Return the compressor. ``auto`` is gzip for https and none for http, whose server is mostly
    on the same machine or rack.

    Raises ConfigurationError for an encoding whose package is not installed.
    """
    if compression == "auto":
        compression = "gzip" if scheme == "https" else "none"
    if compression == "none":
        return Compressor(None, _unchanged)
    if compression == "gzip":
        return Compressor("gzip", _gzip)
    if compression == "zstd":
        # Imported only when it is chosen: most workers don't need it.
        package = importlib.import_module("zstandard")
        return Compressor("zstd", package.ZstdCompressor(level=_ZSTD_LEVEL).compress)
    if compression == "br":
        brotli = _import_brotli()
        return Compressor("br", partial(brotli.compress, quality=_BROTLI_QUALITY))
    raise ConfigurationError(
        f"compression {compression!r} is unknown; expected auto, none, gzip, zstd or br"
    )


def _unchanged(body: bytes) -> bytes:
    return body


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, _GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS)


def _import_brotli() -> ModuleType:
    try:
        return importlib.import_module("brotli")
    except ImportError as error:
        raise ConfigurationError(
            "compression 'br' needs the package 'brotli': pip install 'consumer-fleet[br]'"
        ) from error
