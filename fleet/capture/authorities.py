"""The certificate authorities that servers are checked against."""

from __future__ import annotations

import os

import certifi


def authorities(ca_file: str | os.PathLike[str] | None) -> bytes:
    """The PEM file, else certifi's, as libcurl's ``CAINFO``: the wheel of pycurl brings an OpenSSL
    that doesn't know the system's certificates. In bytes, as pycurl takes no text but ASCII.
    """
    return os.fsencode(ca_file or certifi.where())
