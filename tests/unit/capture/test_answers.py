"""The meaning of a destination's answers, and the log lines about its troubles."""

from __future__ import annotations

import pytest
import structlog.testing

from consumer_fleet.capture.answers import (
    Answer,
    AnswerParser,
    TroubleLog,
    Verdict,
    advice,
    describe,
    is_page,
    judge,
)
from tests.support.clock import ManualClock


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([200, 201, 202, 204], Verdict.ACCEPTED),
        ([0, 408, 425, 500, 502, 503, 504, 599, 100, 600], Verdict.LATER),
        ([429], Verdict.LIMITED),
        ([300, 301, 302, 304, 307, 308, 401, 403, 404, 405, 407], Verdict.REFUSED),
        ([400, 402, 406, 409, 410, 411, 413, 414, 415, 418, 422, 431, 451, 499], Verdict.REJECTED),
    ],
)
def test_every_status_has_one_verdict(statuses: list[int], verdict: Verdict) -> None:
    assert {judge(status) for status in statuses} == {verdict}


def test_an_answer_is_described_in_one_short_line_without_keys() -> None:
    assert describe(Answer(400, body=b" a\n\n b\xff key"), ("key",)) == "a b\ufffd ***"
    assert describe(Answer(400), ()) == "(empty answer)"
    assert len(describe(Answer(400, body=b"x" * 10_000), ())) == 301
    assert describe(Answer(0, error="refused"), ()) == "refused"


def test_a_pause_is_loud_at_once_and_again_each_minute() -> None:
    clock = ManualClock(1000.0)
    trouble = TroubleLog("upstream", "https://***@h/1", clock)
    with structlog.testing.capture_logs() as logs:
        trouble.remind()
        trouble.paused(401, "denied", "check the key")
        for _ in range(125):
            clock.now += 1.0
            trouble.remind()
        trouble.resumed()
        clock.now += 200.0
        trouble.remind()
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("destination_paused", "error"),
        ("destination_still_paused", "error"),
        ("destination_still_paused", "error"),
        ("destination_resumed", "warning"),
    ]
    assert logs[0]["status"] == logs[1]["status"] == 401
    assert logs[0]["dsn"] == "https://***@h/1"
    assert logs[0]["what_to_do"] == "check the key"


def test_drops_are_logged_once_a_minute_with_their_number() -> None:
    clock = ManualClock(1000.0)
    trouble = TroubleLog("saas", "", clock)
    with structlog.testing.capture_logs() as logs:
        for _ in range(121):
            trouble.dropped("over_budget")
            clock.now += 0.5
    assert [entry["count"] for entry in logs] == [1, 120]


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (b'{"id":"9ec79c33ec9942ab8353589fcb2e04dc"}', False),
        (b"{}", False),
        (b"", False),
        (b"ok", False),
        (b"<!DOCTYPE html><html>", True),
        (b"\xef\xbb\xbf \r\n<html>", True),
        (b'<?xml version="1.0"?>', True),
    ],
)
def test_a_success_with_a_web_page_is_not_a_sentrys(body: bytes, page: bool) -> None:
    assert is_page(200, body) is page
    assert not is_page(502, body), "an error page says what its status says"
    assert judge(200, is_page=page) is (Verdict.REFUSED if page else Verdict.ACCEPTED)
    assert "web page" in advice(200)


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", False),
    ],
)
def test_a_connection_is_kept_unless_its_server_closes_it(head: bytes, keeps: bool) -> None:
    parser = AnswerParser({})
    parser.feed(head + b"{}")
    assert parser.answer is not None
    assert parser.keeps_alive is keeps
