"""The choice of a compression."""

from __future__ import annotations

import importlib
import zlib

import pytest

from consumer_fleet.capture.envelope import choose_compressor
from consumer_fleet.errors import ConfigurationError


def test_auto_compresses_what_leaves_over_https() -> None:
    assert choose_compressor("auto", "http").encoding is None
    chosen = choose_compressor("auto", "https")
    assert chosen.encoding == "gzip"
    assert zlib.decompress(chosen.compress(b"x" * 1000), wbits=31) == b"x" * 1000


def test_a_missing_package_is_named_by_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigurationError, match=r"pip install 'consumer-fleet\[br\]'"):
        choose_compressor("br", "http")
