"""The destinations, checked by sending each a harmless envelope."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson
import pycurl

from consumer_fleet.capture.answers import Answer, Verdict, advice, describe, is_page, judge
from consumer_fleet.capture.curl_posts import make_handle
from consumer_fleet.capture.dialing import proxy_from_environment
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import build, choose_compressor, make_item, serialize
from consumer_fleet.capture.gate import limits_of_answer
from consumer_fleet.capture.items import ITEMS
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.doctor.finding import Finding, ok, problem, warning

_BODY_CAP_BYTES: Final = 64 * 1024
_CONNECT_TIMEOUT_S: Final = 3.0
_REQUEST_TIMEOUT_S: Final = 4.0
# Servers that do not support a category limit it for a day, each time.
_NEVER_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one request. Without an answer ``status`` is 0 and ``curl_error`` says why.

    ``headers`` have lower-case names. ``took_s`` is the time from the start to the last byte,
    ``answered_at_s`` the end by this machine's clock. ``is_connected``: the server accepted the
    connection, whatever followed.
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
        """The server's clock, to the second, from the answer's ``Date``."""
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


def send_report(options: DestinationOptions) -> Reply:
    """Blocks for ``_REQUEST_TIMEOUT_S`` at most, name resolution included."""
    dsn = options.dsn
    compressor = choose_compressor(options.compression, dsn.scheme)
    headers = ["Content-Type: application/x-sentry-envelope", f"X-Sentry-Auth: {dsn.auth_header}"]
    if compressor.encoding is not None:
        headers.append(f"Content-Encoding: {compressor.encoding}")
    handle = make_handle(
        replace(options, connect_timeout_s=min(options.connect_timeout_s, _CONNECT_TIMEOUT_S)),
        tuple(headers),
    )
    handle.setopt(pycurl.TIMEOUT_MS, int(_REQUEST_TIMEOUT_S * 1000))
    handle.setopt(pycurl.OPT_CERTINFO, 1)
    handle.setopt(pycurl.POSTFIELDS, compressor.compress(empty_report(dsn, time.time())))
    try:
        return _perform(handle, uses_proxy=bool(proxy_from_environment(dsn.envelope_url)))
    finally:
        handle.close()


def empty_report(dsn: Dsn, now_s: float) -> bytes:
    """An envelope with a client report of no losses."""
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
        if code == pycurl.E_WRITE_ERROR:  # a longer body than is of use
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
            found.clear()  # the lines before belong to a proxy's or an interim answer
            continue
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


def _certificate_end(handle: Any) -> str:
    """The end of the first certificate in the chain, which is the server's own."""
    for certificate in handle.getinfo(pycurl.INFO_CERTINFO) or ():
        for name, value in certificate:
            if name == "Expire date":
                return str(value)
    return ""


_DAY_S: Final = 86_400.0
_CERTIFICATE_WARNING_S: Final = 14 * _DAY_S
_SKEW_WARNING_S: Final = 60.0
# Relay and Sentry shift an event's timestamps when sent_at is this far off (SDK documentation of
# envelopes); so does a wrong clock here, since sent_at is written here.
_SKEW_PROBLEM_S: Final = 55 * 60.0
_SLOW_S: Final = 1.0
# Relay responds 200 while it fetches the project's configuration, and 403 once it has that.
_SECOND_REPORT_DELAY_S: Final = 2.0

# libcurl's code → the failure, and what to do; with {option}, {host} and {port}.
_NO_ANSWER: Final[dict[int, tuple[str, str]]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: (
        "{host} does not resolve",
        "Check the host in {option}, and this machine's name servers.",
    ),
    pycurl.E_COULDNT_RESOLVE_PROXY: (
        "the proxy's name does not resolve",
        "Check https_proxy, http_proxy and no_proxy in the environment.",
    ),
    pycurl.E_PEER_FAILED_VERIFICATION: (
        "its certificate is not trusted",
        "If an internal authority signed it, set ca_file to that authority's PEM file. To see "
        "the certificate:\nopenssl s_client -connect {host}:{port} -showcerts",
    ),
    pycurl.E_SSL_CACERT_BADFILE: (
        "the certificate authorities can't be read",
        "Check that ca_file names a PEM file that this user may read.",
    ),
    pycurl.E_SSL_CONNECT_ERROR: (
        "TLS fails",
        "Check that port {port} speaks TLS; if it does not, {option} must start with http://.",
    ),
}
_CHECK_NETWORK: Final = (
    "Check host and port in {option}, and firewalls and network policies in between."
)


def examine_destination(destination: DestinationOptions) -> Iterator[Finding]:
    """All findings about one destination. Blocks for seconds."""
    reply = send_report(destination)
    if 200 <= reply.status < 300:
        time.sleep(_SECOND_REPORT_DELAY_S)
        later = send_report(destination)
        # A second report that gets no answer says nothing: the network has just worked.
        if later.status:
            reply = later
    yield from judge_reply(destination, reply)


def judge_reply(destination: DestinationOptions, reply: Reply) -> Iterator[Finding]:
    """Findings from an answer, or from none."""
    dsn = destination.dsn
    subject = f"{destination.name} {dsn.scheme}://{dsn.host}:{dsn.port}"
    if not reply.status:
        yield _no_answer(subject, destination, reply)
        return
    yield _answered(subject, destination, reply)
    for check in (_certificate, _clock):
        finding = check(subject, reply)
        if finding is not None:
            yield finding
    limits = _limits(subject, destination, reply)
    if limits is not None:
        yield limits


def _no_answer(subject: str, destination: DestinationOptions, reply: Reply) -> Finding:
    dsn = destination.dsn
    what, fix = _NO_ANSWER.get(reply.curl_error, ("", _CHECK_NETWORK))
    if not what:
        what = (
            "it accepted the connection but did not answer" if reply.is_connected else "unreachable"
        )
        if reply.uses_proxy:
            what += " (through the proxy in the environment)"
    elif reply.curl_error == pycurl.E_SSL_CONNECT_ERROR and dsn.scheme == "http":
        fix = _CHECK_NETWORK
    return problem(
        "destination.reach",
        subject,
        f"{what.format(host=dsn.host)}: {reply.error}",
        fix.format(option=destination.option, host=dsn.host, port=dsn.port),
    )


def _answered(subject: str, destination: DestinationOptions, reply: Reply) -> Finding:
    check, dsn = "destination.answer", destination.dsn
    took = f"{reply.took_s * 1000:,.0f} ms"
    verdict = judge(reply.status, is_page=is_page(reply.status, reply.body))
    if verdict is Verdict.ACCEPTED:
        seen = f"accepts envelopes of project {dsn.project_id}, in {took}"
        if reply.took_s > _SLOW_S:
            return warning(check, subject, seen, "Slow: raise connections to compensate.")
        return ok(check, subject, seen)
    seen = f"answers {reply.status} in {took}: {_text(dsn, reply)}"
    if verdict is Verdict.LIMITED:
        return warning(
            check,
            subject,
            seen,
            "It accepts nothing for now. Nothing is lost: the consumer waits until the limit ends. "
            "Raise the quota of the project or the key if the limit stays.",
        )
    return problem(check, subject, seen, _fix(destination, reply))


def _fix(destination: DestinationOptions, reply: Reply) -> str:
    status, option, compression = reply.status, destination.option, destination.compression
    if 200 <= status < 400:
        target = reply.headers.get("location", "").partition("?")[0]
        known = f" (it points to {target})" if target.startswith(("http://", "https://")) else ""
        return f"In {option}: {advice(status)}{known}."
    if status in (401, 403, 404, 405, 407):
        return f"In {option}: {advice(status)}. In Sentry it is at Settings, Projects, Client Keys."
    if status == 413:
        return (
            "A proxy in between limits bodies: raise its limit (nginx: client_max_body_size; an "
            "envelope may have up to 200 MiB)."
        )
    if status >= 500:
        return "Check that server's log; the consumer retries until it recovers."
    if compression != "none":
        set_it = f"set {destination.role}_compression to none and retry."
        return f"It may not support {compression}: {set_it}"
    return f"Check that {option} points to Sentry, a Relay or another server of envelopes."


def _text(dsn: Dsn, reply: Reply) -> str:
    secrets = tuple(key for key in (dsn.public_key, dsn.secret_key) if key)
    return describe(Answer(reply.status, body=reply.body), secrets)


def _certificate(subject: str, reply: Reply) -> Finding | None:
    ends_s = reply.certificate_ends_s
    if ends_s is None:
        return None
    days = (ends_s - reply.answered_at_s) / _DAY_S
    seen = f"its certificate is trusted and expires in {days:,.0f} days"
    if days * _DAY_S < _CERTIFICATE_WARNING_S:
        return warning(
            "destination.tls", subject, seen, "Renew the server's certificate before then."
        )
    return ok("destination.tls", subject, seen)


def _clock(subject: str, reply: Reply) -> Finding | None:
    server_s = reply.server_time_s
    if server_s is None:
        return None
    # It was written at some time between the request's start and end, and is cut to a second.
    ours_s = reply.answered_at_s - reply.took_s / 2
    skew_s = max(0.0, abs(ours_s - (server_s + 0.5)) - reply.took_s / 2 - 0.5)
    direction = "ahead of" if ours_s > server_s else "behind"
    if skew_s <= _SKEW_WARNING_S:
        return ok("destination.clock", subject, "its clock agrees with this machine's")
    seen = f"this machine's clock is {skew_s:,.0f} s {direction} the server's"
    fix = "Synchronise both clocks by NTP."
    if skew_s < _SKEW_PROBLEM_S:
        return warning("destination.clock", subject, seen, fix)
    return problem(
        "destination.clock",
        subject,
        seen,
        f"{fix} From 55 minutes on, Sentry moves the timestamps of events.",
    )


def _limits(subject: str, destination: DestinationOptions, reply: Reply) -> Finding | None:
    header = reply.headers.get("x-sentry-rate-limits")
    if header is None or reply.status == 429:
        return None
    limits = limits_of_answer(reply.status, header, None, reply.answered_at_s)
    refused = {category for category, seconds in limits.items() if seconds >= _NEVER_S}
    types = [
        each
        for each, facts in ITEMS.items()
        if facts.categories and refused.issuperset(facts.categories)
    ]
    if refused == limits.keys() and destination.drop_items.issuperset(types):
        limits = {}
    if not limits:
        return None
    named = ", ".join(
        f"{category or 'everything'} for {seconds:,.0f} s"
        for category, seconds in sorted(limits.items())
    )
    return warning(
        "destination.limits",
        subject,
        f"rate limits now: {named}",
        "Such messages are held, and others pass them."
        + (
            " A limit of a day means that the server never takes them: set "
            f"{destination.drop_items_option} to {','.join(types)}, and they count as filtered."
            if types
            else ""
        ),
    )
