"""Rate limits: parsing, their end, and the items that they hold back."""

from __future__ import annotations

import math

import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.capture.gate import (
    EVERYTHING,
    RateLimits,
    limits_of_answer,
    parse_rate_limits,
    parse_retry_after,
)
from consumer_fleet.capture.items import envelope_categories, is_limitable, limited_items

NOON = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("header", "limits"),
    [
        ("60:error:organization", {"error": 60.0}),
        ("2.5:error;transaction:key:quota", {"error": 2.5, "transaction": 2.5}),
        ("60::organization", {EVERYTHING: 60.0}),
        ("60", {EVERYTHING: 60.0}),
        ("60:;:organization", {EVERYTHING: 60.0}),
        (" 1 : error ; session , 2 :span", {"error": 1.0, "session": 1.0, "span": 2.0}),
        ("60:error, 10:error, 5::", {"error": 60.0, EVERYTHING: 5.0}),
        ("2700:metric_bucket:organization:quota:custom;transactions", {"metric_bucket": 2700.0}),
        ("60:unheard_of:organization", {}),
        ("60:unheard_of;error:organization", {"error": 60.0}),
        ("soon:error, -5:error, nan:error, inf:error, 1e9:error, :error,, 3:span", {"span": 3.0}),
        ("99999999999:error", {"error": 86_400.0}),
        ("", {}),
    ],
)
def test_the_limits_header_is_read_per_category(header: str, limits: dict[str, float]) -> None:
    assert parse_rate_limits(header) == limits


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        (" 0.5 ", 0.5),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("later", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    assert parse_retry_after(header, NOON) == seconds


@pytest.mark.parametrize(
    ("status", "rate_limits", "retry_after", "limits"),
    [
        (200, "9:error", None, {"error": 9.0}),
        (200, None, "9", {}),
        (429, "9:error", "100", {"error": 9.0}),
        (429, None, "100", {EVERYTHING: 100.0}),
        (429, None, None, {EVERYTHING: 60.0}),
        (429, "garbage", "7", {EVERYTHING: 7.0}),
        (429, None, "garbage", {EVERYTHING: 60.0}),
        (429, "9:unheard_of", "100", {}),
    ],
)
def test_an_answer_announces_limits(
    status: int, rate_limits: str | None, retry_after: str | None, limits: dict[str, float]
) -> None:
    assert limits_of_answer(status, rate_limits, retry_after, NOON) == limits


def test_the_longest_limit_is_kept_until_it_ends() -> None:
    now = [100.0]
    limits = RateLimits(lambda: now[0])
    limits.update({"error": 60.0})
    limits.update({"error": 10.0, "session": 5.0})
    assert limits.end_for({"error"}) == 160.0
    assert limits.end_for({"error", "session"}) == 160.0
    assert limits.end_for({"transaction"}) == -math.inf
    now[0] = 106.0
    assert limits.end_for({"session"}) == -math.inf
    assert limits.active() == {"error": 54.0}
    now[0] = 160.0
    assert limits.end_for({"error"}) == -math.inf
    assert not limits.is_any_set


def test_a_limit_on_everything_spares_reports_of_losses() -> None:
    limits = RateLimits(lambda: 0.0)
    limits.update({EVERYTHING: 10.0})
    unknown = build(None, [make_item("unheard_of", b"")])
    report = build(None, [make_item("client_report", b"")])
    assert limits.end_for(envelope_categories(unknown), limitable=is_limitable(unknown)) == 10.0
    ends = limits.end_for(envelope_categories(report), limitable=is_limitable(report))
    assert ends == -math.inf


@pytest.mark.parametrize(
    ("item_type", "category"),
    [
        ("event", "error"),
        ("transaction", "transaction"),
        ("attachment", "attachment"),
        ("session", "session"),
        ("sessions", "session"),
        ("statsd", "metric_bucket"),
        ("statsd", "statsd"),
        ("metric_meta", "metric_bucket"),
        ("trace_metric", "trace_metric"),
        ("log", "log_item"),
        ("span", "span"),
        ("profile", "profile"),
        ("profile_chunk", "profile_chunk"),
        ("replay_event", "replay"),
        ("replay_recording", "replay"),
        ("replay_video", "replay"),
        ("check_in", "monitor"),
        ("feedback", "feedback"),
        ("security", "security"),
    ],
)
def test_each_item_type_has_its_category(item_type: str, category: str) -> None:
    envelope = build(None, [make_item(item_type, b"")])
    assert category in envelope_categories(envelope)
    assert limited_items(envelope, {category}) == envelope.items
    assert limited_items(envelope, {"default"}) == ()


@pytest.mark.parametrize("item_type", ["client_report", "unheard_of", "form_data"])
def test_other_types_have_no_category(item_type: str) -> None:
    assert envelope_categories(build(None, [make_item(item_type, b"")])) == frozenset()


def test_what_belongs_to_a_limited_event_is_limited_with_it() -> None:
    types = ["event", "attachment", "form_data", "user_report", "session", "client_report"]
    items = [make_item(name, b"") for name in types]
    left = limited_items(build(None, items), {"error"})
    assert [item.type for item in left] == ["event", "attachment", "form_data", "user_report"]
    left = limited_items(build(None, items), {"attachment"})
    assert [item.type for item in left] == ["attachment"]


def test_an_attachment_that_makes_an_event_counts_as_an_error() -> None:
    minidump = make_item("attachment", b"", attachment_type="event.minidump")
    plain = make_item("attachment", b"", attachment_type="event.attachment")
    envelope = build(None, [minidump, plain])
    assert limited_items(envelope, {"attachment"}) == (plain,)
    assert limited_items(envelope, {"error"}) == (minidump, plain)
    assert envelope_categories(build(None, [minidump])) == {"error"}
