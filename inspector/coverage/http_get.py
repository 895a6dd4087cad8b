"""One GET of a service's API."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

import pycurl

from fleet.capture.authorities import authorities
from fleet.capture.dsn import client_name


class GetFailed(Exception):
    """There was no usable answer: no connection, too slow, too long."""


class Answer(NamedTuple):
    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class GetLimits:
    """``deadline_s``, a monotonic time, is for all of it, from the name's resolution on.

    ``timeout_s`` is what a person knows of it.
    """

    timeout_s: float
    deadline_s: float
    body_bytes: int
    ca_file: str | None = None


def http_get(url: str, headers: list[str], limits: GetLimits) -> Answer:
    """Blocks, up to the deadline. Redirects are not followed. Raises GetFailed.

    Proxies come from the environment, as in curl. Neither headers nor the answer are logged.
    """
    body = bytearray()

    def receive(data: bytes) -> int | None:
        body.extend(data)
        return None if len(body) <= limits.body_bytes else 0  # 0 ends the transfer

    handle = pycurl.Curl()
    try:
        for option, value in _options(url, headers, limits).items():
            handle.setopt(option, value)
        handle.setopt(pycurl.WRITEFUNCTION, receive)
        handle.perform()
        return Answer(handle.getinfo(pycurl.RESPONSE_CODE), bytes(body))
    except pycurl.error as error:
        code = error.args[0]
        if len(body) > limits.body_bytes:
            raise GetFailed(f"the answer is longer than {limits.body_bytes} bytes") from error
        if code == pycurl.E_OPERATION_TIMEDOUT:
            raise too_slow(limits.timeout_s) from error
        raise GetFailed(f"no answer (libcurl error {code}: {handle.errstr()})") from error
    finally:
        handle.close()


def too_slow(timeout_s: float) -> GetFailed:
    return GetFailed(f"no answer within {timeout_s:g} s")


def _options(url: str, headers: list[str], limits: GetLimits) -> dict[int, object]:
    return {
        pycurl.URL: url,
        pycurl.HTTPHEADER: headers,
        pycurl.USERAGENT: client_name(),
        pycurl.FOLLOWLOCATION: 0,  # a redirect would take the token elsewhere
        pycurl.NOSIGNAL: 1,  # else it times out names with a signal, which only a main thread gets
        pycurl.TIMEOUT_MS: max(1, int((limits.deadline_s - monotonic()) * 1000)),
        pycurl.ACCEPT_ENCODING: "gzip",
        pycurl.CAINFO: authorities(limits.ca_file),
    }
