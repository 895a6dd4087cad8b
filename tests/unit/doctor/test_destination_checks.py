"""``consumer doctor``: findings from a destination's answer."""

from __future__ import annotations

from email.utils import formatdate

import orjson
import pycurl
import pytest

from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Compression, parse
from consumer_fleet.capture.options import DestinationOptions
from consumer_fleet.doctor.destination_checks import Reply, empty_report, judge_reply
from consumer_fleet.doctor.finding import Finding

NOW_S = 1_700_000_000.0
DAY_S = 86_400.0
KEY = "0123456789abcdef0123456789abcdef"
DSN = Dsn.parse(f"https://{KEY}:secrethalf@sentry.example/7")


def reply(status: int, body: bytes = b"{}", took_s: float = 0.05, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, named, body, took_s, NOW_S)


def no_answer(code: int, *, is_connected: bool = False, uses_proxy: bool = False) -> Reply:
    return Reply(0, {}, b"", 1.0, NOW_S, code, "because", is_connected, "", uses_proxy)


def judged(
    answer: Reply, compression: Compression = "auto", dsn: Dsn = DSN, name: str = "upstream"
) -> dict[str, Finding]:
    destination = DestinationOptions(name, dsn, compression=compression)
    found = {each.check: each for each in judge_reply(destination, answer)}
    assert KEY not in str(found)
    assert "secrethalf" not in str(found)
    return found


def test_the_report_is_harmless_and_goes_to_the_project_of_the_dsn() -> None:
    raw = empty_report(DSN, NOW_S)
    header = orjson.loads(raw.split(b"\n", 1)[0])
    assert header == {"dsn": f"https://{KEY}@sentry.example/7", "sent_at": "2023-11-14T22:13:20Z"}
    (item,) = parse(raw).items
    assert item.type == "client_report"
    assert orjson.loads(item.payload) == {"timestamp": 1_700_000_000, "discarded_events": []}


def test_an_accepted_report_is_fine() -> None:
    found = judged(reply(200))
    assert {check: each.status for check, each in found.items()} == {"destination.answer": "ok"}
    assert "accepts envelopes of project 7, in 50 ms" in found["destination.answer"].seen


def test_a_slow_answer_is_a_warning() -> None:
    assert judged(reply(200, took_s=1.5))["destination.answer"].status == "warning"


@pytest.mark.parametrize(
    ("status", "mended_by"),
    [
        (400, "set upstream_compression to none"),
        (401, "check the key in its DSN"),
        (403, "check that the project is enabled"),
        (404, "check the host, the path and the project id"),
        (405, "check the host, the path and the project id"),
        (407, "the proxy's user and password"),
        (413, "client_max_body_size"),
        (500, "that server's log"),
        (503, "that server's log"),
    ],
)
def test_each_refusal_is_a_problem_with_a_fix_of_its_own(status: int, mended_by: str) -> None:
    finding = judged(reply(status, b'{"detail": "no"}'))["destination.answer"]
    assert finding.status == "problem"
    assert f"answers {status} in 50 ms" in finding.seen
    assert '{"detail": "no"}' in finding.seen
    assert mended_by in finding.fix
    if status in (401, 403, 404, 405, 407):
        assert "upstream_dsn" in finding.fix


def test_a_server_that_answers_with_a_web_page_is_not_a_sentry() -> None:
    finding = judged(reply(200, b"<!doctype html><title>Welcome</title>"))["destination.answer"]
    assert finding.status == "problem"
    assert "Welcome" in finding.seen
    assert "web page" in finding.fix
    assert "upstream_dsn" in finding.fix
    assert judged(reply(200, b""))["destination.answer"].status == "ok"


def test_what_an_uncompressed_report_is_refused_for_is_not_its_compression() -> None:
    fix = judged(reply(400), compression="none")["destination.answer"].fix
    assert "compression" not in fix
    assert "server of envelopes" in fix


def test_a_redirect_names_where_it_points_without_its_query() -> None:
    answer = reply(301, location="https://www.sentry.example/api/?token=hunter2")
    finding = judged(answer)["destination.answer"]
    assert finding.status == "problem"
    assert "https://www.sentry.example/api/" in finding.fix
    assert "hunter2" not in str(finding)


def test_a_key_in_an_answer_is_not_shown() -> None:
    body = f"Project not found or key incorrect: https://{KEY}@sentry.example/7".encode()
    assert "***@sentry.example" in judged(reply(403, body))["destination.answer"].seen


def test_a_rate_limit_is_a_warning_since_the_consumer_waits() -> None:
    finding = judged(reply(429, retry_after="30"))["destination.answer"]
    assert finding.status == "warning"
    assert "waits until the limit ends" in finding.fix


def test_limits_of_an_accepted_report_are_a_warning_that_names_them() -> None:
    answer = reply(200, x_sentry_rate_limits="86400:transaction;span:organization, 60::key")
    finding = judged(answer)["destination.limits"]
    assert finding.status == "warning"
    assert finding.seen == (
        "rate limits now: everything for 60 s, span for 86,400 s, transaction for 86,400 s"
    )
    assert "destination.limits" not in judged(reply(200, x_sentry_rate_limits=""))


@pytest.mark.parametrize(
    ("code", "says", "mended_by"),
    [
        (pycurl.E_COULDNT_RESOLVE_HOST, "sentry.example does not resolve", "upstream_dsn"),
        (pycurl.E_COULDNT_RESOLVE_PROXY, "the proxy's name", "https_proxy"),
        (pycurl.E_PEER_FAILED_VERIFICATION, "not trusted", "ca_file"),
        (pycurl.E_SSL_CACERT_BADFILE, "authorities can't be read", "ca_file"),
        (pycurl.E_SSL_CONNECT_ERROR, "TLS fails", "must start with http://"),
        (pycurl.E_COULDNT_CONNECT, "unreachable", "firewalls"),
        (pycurl.E_OPERATION_TIMEDOUT, "unreachable", "firewalls"),
    ],
)
def test_each_way_of_not_answering_is_a_problem_of_its_own(
    code: int, says: str, mended_by: str
) -> None:
    finding = judged(no_answer(code))["destination.reach"]
    assert finding.status == "problem"
    assert says in finding.seen
    assert finding.seen.endswith(": because")
    assert mended_by in finding.fix


def test_a_connection_without_an_answer_is_distinguished_from_no_connection() -> None:
    answer = no_answer(pycurl.E_OPERATION_TIMEDOUT, is_connected=True, uses_proxy=True)
    seen = judged(answer)["destination.reach"].seen
    assert "it accepted the connection but did not answer" in seen
    assert "through the proxy" in seen


@pytest.mark.parametrize(
    ("off_s", "status"),
    [
        (0, "ok"),
        (59, "ok"),
        (-59, "ok"),
        (70, "warning"),
        (-70, "warning"),
        (3290, "warning"),
        (3310, "problem"),
        (-3310, "problem"),
    ],
)
def test_a_clock_that_is_off_is_a_warning_and_then_a_problem(off_s: int, status: str) -> None:
    answer = reply(200, date=formatdate(NOW_S - off_s, usegmt=True))
    finding = judged(answer)["destination.clock"]
    assert finding.status == status
    if status != "ok":
        assert ("ahead of" if off_s > 0 else "behind") in finding.seen


def test_a_slow_answer_excuses_a_clock_by_as_much() -> None:
    answer = reply(200, took_s=4.0, date=formatdate(NOW_S - 64, usegmt=True))
    assert judged(answer)["destination.clock"].status == "ok"


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_without_a_date_nothing_is_said_of_the_clock(date: str) -> None:
    assert "destination.clock" not in judged(reply(200, date=date))


@pytest.mark.parametrize(("days", "status"), [(15, "ok"), (13, "warning")])
def test_a_certificate_that_ends_soon_is_a_warning(days: int, status: str) -> None:
    ends = {15: "Nov 29 22:13:20 2023 GMT", 13: "Nov 27 22:13:20 2023 GMT"}[days]
    answer = Reply(200, {}, b"{}", 0.05, NOW_S, certificate_ends=ends)
    finding = judged(answer)["destination.tls"]
    assert finding.status == status
    assert f"expires in {days} days" in finding.seen


def test_a_limit_of_a_day_proposes_the_option_that_drops_what_is_never_taken() -> None:
    answer = reply(200, x_sentry_rate_limits="86400:transaction;span:organization")
    fix = judged(answer)["destination.limits"].fix
    assert "set upstream_drop_items to transaction,span,otel_span" in fix
    fix = judged(answer, name="upstream:42")["destination.limits"].fix
    assert "set projects.42.upstream_drop_items to transaction" in fix
    dropped = frozenset({"transaction", "span", "otel_span"})
    dsn = Dsn.parse(f"https://{KEY}@sentry.example/7")
    destination = DestinationOptions("upstream", dsn, drop_items=dropped)
    found = [each.check for each in judge_reply(destination, answer)]
    assert "destination.limits" not in found, "nothing is left to do"
