"""Sends one harmless envelope to a destination, the way that a worker would send a real one.

It holds a single ``client_report`` that reports nothing: Relay checks key and project as for any
envelope, then lets it go without an outcome (getsentry/relay, relay-server/src/services/processor/
report.rs); Bugsink checks the key and ignores the item. Neither stores anything, and client reports
are not rate limited by category.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson
import pycurl

from fleet.bootstrap.options import Options
from fleet.capture.compression import choose_compressor
from fleet.capture.dsn import Dsn
from fleet.capture.envelope import build, make_item, serialize
from fleet.capture.http_posts import PostOptions, make_handle, proxy_from_environment

_BODY_CAP_BYTES: Final = 64 * 1024
_CONNECT_TIMEOUT_S: Final = 3.0
_REQUEST_TIMEOUT_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Reply:
    """How one request ended. Without an answer ``status`` is 0 and ``curl_error`` says why.

    ``headers`` have lower-case names. Times are seconds: ``took_s`` from the start to the last
    byte, ``answered_at_s`` by this machine's clock. ``is_connected``: the server took the
    connection, whatever came of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float
    answered_at_s: float
    curl_error: int = 0
    error: str = ""
    is_connected: bool = False
    certificate_ends: str = ""
    uses_proxy: bool = False

    @property
    def server_time_s(self) -> float | None:
        """The server's clock, to the second, as its answer's ``Date`` tells it."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).timestamp()
        except (ValueError, OverflowError):
            return None

    @property
    def certificate_ends_s(self) -> float | None:
        """When the server's own certificate expires."""
        try:
            return float(ssl.cert_time_to_seconds(self.certificate_ends))
        except ValueError:
            return None


def send_report(dsn: Dsn, compression: Any, options: Options) -> Reply:
    """Blocks for ``_REQUEST_TIMEOUT_S`` at most; libcurl waits for a name server within it."""
    compressor = choose_compressor(compression, dsn.scheme)
    headers = ["Content-Type: application/x-sentry-envelope", f"X-Sentry-Auth: {dsn.auth_header}"]
    if compressor.encoding is not None:
        headers.append(f"Content-Encoding: {compressor.encoding}")
    handle = make_handle(
        PostOptions(
            url=dsn.envelope_url,
            headers=tuple(headers),
            connections=1,
            connect_timeout_s=min(options.connect_timeout_s, _CONNECT_TIMEOUT_S),
            request_timeout_s=_REQUEST_TIMEOUT_S,
            ca_file=None if options.ca_file is None else str(options.ca_file),
        )
    )
    handle.setopt(pycurl.TIMEOUT_MS, int(_REQUEST_TIMEOUT_S * 1000))
    handle.setopt(pycurl.OPT_CERTINFO, 1)
    handle.setopt(pycurl.POSTFIELDS, compressor.compress(empty_report(dsn, time.time())))
    try:
        return _perform(handle, uses_proxy=bool(proxy_from_environment(dsn.envelope_url)))
    finally:
        handle.close()


def empty_report(dsn: Dsn, now_s: float) -> bytes:
    """The envelope: a client report that says that nothing was lost."""
    report = orjson.dumps({"timestamp": int(now_s), "discarded_events": []})
    sent_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    return serialize(
        build(None, [make_item("client_report", report)]), dsn=str(dsn), sent_at=sent_at
    )


def _perform(handle: Any, *, uses_proxy: bool) -> Reply:
    body: list[bytes] = []
    head: list[bytes] = []

    def receive(data: bytes) -> int | None:
        body.append(data)
        return None if sum(map(len, body)) <= _BODY_CAP_BYTES else 0

    handle.setopt(pycurl.WRITEFUNCTION, receive)
    handle.setopt(pycurl.HEADERFUNCTION, head.append)
    code, text = 0, ""
    try:
        handle.perform()
    except pycurl.error as error:
        code, text = error.args
        if code == pycurl.E_WRITE_ERROR:  # more of a body than anybody wants to see
            code, text = 0, ""
    return Reply(
        status=0 if code else handle.getinfo(pycurl.RESPONSE_CODE),
        headers=_headers(head),
        body=b"".join(body),
        took_s=handle.getinfo(pycurl.TOTAL_TIME),
        answered_at_s=time.time(),
        curl_error=code,
        error=text,
        is_connected=handle.getinfo(pycurl.CONNECT_TIME) > 0,
        certificate_ends=_certificate_end(handle),
        uses_proxy=uses_proxy,
    )


def _headers(lines: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            found.clear()  # what came before belongs to a proxy's or an interim answer
            continue
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


def _certificate_end(handle: Any) -> str:
    """Of the first certificate in the chain, which is the server's own."""
    for certificate in handle.getinfo(pycurl.INFO_CERTINFO) or ():
        for name, value in certificate:
            if name == "Expire date":
                return str(value)
    return ""
