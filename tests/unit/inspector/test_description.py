"""Descriptions of entries: correct for valid events, and never an exception."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.inspector.demo import demo_feed
from consumer_fleet.inspector.description import Description, describe, event_index
from consumer_fleet.inspector.entry import NewEntry, Rejection
from consumer_fleet.inspector.untrusted import one_line
from tests.support.inspecting import envelope_entry
from tests.support.mutations import damaged_bytes, damaged_values

FRAMES = [
    {"module": "lib.call", "function": "outer", "in_app": True},
    {"module": "shop.total", "function": "add", "in_app": True},
    {"filename": "json.py", "function": "loads", "in_app": False},
]


def error(**members: Any) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": "ValueError",
        "value": "bad\nsecond line",
        "stacktrace": {"frames": FRAMES},
    }
    return {"exception": {"values": [{"type": "KeyError", "value": "first"}, value]}, **members}


def about(event: dict[str, Any], item_type: str = "event") -> Description:
    item = make_item(item_type, json.dumps(event).encode())
    return describe(envelope_entry(build(None, [item])))


@pytest.mark.parametrize(
    ("event", "kind", "title"),
    [
        (error(), "error", "ValueError: bad"),
        ({"exception": [{"type": "E", "value": "v"}]}, "error", "E: v"),
        ({"exception": {"type": "E"}}, "error", "E"),
        ({"exception": {"values": [{"value": "only a value"}, None]}}, "error", "only a value"),
        ({"exception": {"values": []}, "message": "m"}, "default", "m"),
        ({"logentry": {"formatted": "filled in", "message": "%s"}}, "default", "filled in"),
        ({"logentry": {"message": "raw %s"}}, "default", "raw %s"),
        ({"message": "plain"}, "default", "plain"),
        ({"message": {"formatted": "object"}}, "default", "object"),
        ({"csp": {"effective_directive": "img-src", "blocked_uri": "data"}}, "csp",
         "Blocked img-src from data"),
        ({"hpkp": {}}, "hpkp", "Blocked hpkp from unknown"),
        ({"type": "transaction", "transaction": "/a"}, "transaction", "/a"),
        ({"type": "feedback", "contexts": {"feedback": {"message": "nice"}}}, "feedback", "nice"),
        ({"type": "generic", "message": "g"}, "generic", "g"),
        ({"type": "<b>", "message": "g"}, "default", "g"),
        ({}, "default", "(no title)"),
    ],
)  # fmt: skip
def test_type_and_title_are_the_same_as_in_sentry(
    event: dict[str, Any], kind: str, title: str
) -> None:
    found = about(event)
    assert (found.type, found.title) == (kind, title)


def test_the_item_type_decides_if_the_payload_has_no_type() -> None:
    assert about({"transaction": "/a"}, "transaction").type == "transaction"
    assert about({"contexts": {"feedback": {"message": "m"}}}, "feedback").title == "m"
    assert about({"csp": {}}, "security").type == "csp"


def test_the_culprit_is_the_transaction_or_the_application_s_innermost_function() -> None:
    assert about(error(transaction="/checkout")).culprit == "/checkout"
    assert about(error()).culprit == "shop.total in add"
    frames = {"frames": FRAMES[2:]}
    foreign = {"exception": {"values": [{"type": "E", "stacktrace": frames}]}}
    assert about(foreign).culprit == "json.py in loads"


def test_an_error_without_a_known_level_is_an_error() -> None:
    assert about(error(level="warning")).level == "warning"
    assert about(error(level="<b>")).level == "error"
    assert about(error()).level == "error"
    assert about({"type": "transaction"}).level is None


def items_of(*pairs: tuple[str, bytes]) -> Description:
    items = [make_item(kind, payload) for kind, payload in pairs]
    return describe(envelope_entry(build(None, items)))


LOG = {"level": "info", "body": "checkout: low stock\nsecond line"}
METRIC = {"name": "orders", "type": "counter", "value": 3.0, "unit": "order"}
RELEASE = {"release": "shop@1", "environment": "prod"}
DISCARDED = [
    {"reason": "queue_overflow", "category": "error", "quantity": 5},
    {"reason": "sample_rate", "category": "transaction", "quantity": 1},
]


@pytest.mark.parametrize(
    ("kind", "payload", "level", "title"),
    [
        ("log", {"items": [LOG]}, "info", "checkout: low stock"),
        ("log", {"items": [LOG, {"level": "warn", "body": "slow"}, {"body": "x"}]}, "warning",
         "slow (and 2 more logs)"),
        ("log", {"items": [{"level": "trace", "body": "a"}, {"level": "?", "body": "b"}]}, "trace",
         "a (and 1 more log)"),
        ("log", {"items": [{"level": {}, "body": []}]}, None, "(no message)"),
        ("log", {"items": [{"body": "x" * 999}, {}]}, None, "x" * 182 + "… (and 1 more log)"),
        ("log", {"items": []}, None, "log"),
        ("trace_metric", {"items": [METRIC]}, None, "counter orders = 3 order"),
        ("trace_metric", {"items": [{**METRIC, "unit": None, "value": 0.5}, METRIC]}, None,
         "counter orders = 0.5 (and 1 more metric)"),
        ("trace_metric", {"items": [{"value": [1]}]}, None, "(no name)"),
        ("session", {"status": "crashed"}, None, "session crashed"),
        ("session", {"status": "exited", "errors": 1, "attrs": RELEASE}, None,
         "session exited with 1 error of shop@1"),
        ("sessions", {"aggregates": [{"exited": 8, "crashed": 1}, {"exited": 2, "errored": True}],
                      "attrs": RELEASE}, None, "sessions of shop@1: 10 exited, 1 crashed"),
        ("sessions", {"aggregates": 1}, None, "sessions"),
        ("check_in", {"monitor_slug": "nightly", "status": "missed"}, None, "nightly: missed"),
        ("check_in", {"monitor_slug": "nightly", "status": "ok", "duration": 12.5}, None,
         "nightly: ok after 12.5 s"),
        ("user_report", {"name": "Jo", "comments": "It broke"}, None, "Jo: It broke"),
        ("user_report", {"comments": "It broke"}, None, "It broke"),
        ("client_report", {"discarded_events": DISCARDED}, None,
         "discarded by the SDK: 5 error (queue_overflow), 1 transaction (sample_rate)"),
        ("client_report", {"discarded_events": [{}]}, None,
         "discarded by the SDK: ? unknown (no reason)"),
        ("profile", {"transaction": {"name": "GET /a"}}, None, "profile of GET /a"),
        ("profile", {"transactions": [{}, {"name": "GET /b"}]}, None, "profile of GET /b"),
        ("profile_chunk", {"release": "shop@1", "profile": {"samples": [{}, {}]}}, None,
         "profile of shop@1: 2 samples"),
        ("profile_chunk", {"profile": 1}, None, "profile_chunk"),
    ],
)  # fmt: skip
def test_the_title_of_an_item_says_what_happened(
    kind: str, payload: dict[str, Any], level: str | None, title: str
) -> None:
    found = items_of((kind, json.dumps(payload).encode()))
    assert (found.type, found.level, found.title) == (kind, level, title)


def test_an_envelope_of_other_items_is_named_after_their_types() -> None:
    assert items_of(("statsd", b"x"), ("metric_meta", b"y")).title == "statsd, metric_meta"
    assert items_of(("session", b"\xff")).title == "session"
    assert items_of().type == "empty"


@pytest.mark.parametrize("kind", ["log", "trace_metric", "sessions", "client_report", "profile"])
def test_no_damaged_item_raises(kind: str) -> None:
    log = {**LOG, **METRIC, "transaction": {"name": "n"}, "quantity": 1, "exited": 1}
    payload = {"items": [log], "discarded_events": [log], "aggregates": [log], **log}
    for value in damaged_values(payload, 3, 200):
        _check(items_of((kind, json.dumps(value).encode())))
    for number in ("1e999", "9" * 4000, "-0.0"):
        payload_text = json.dumps(payload).replace("3.0", number)
        _check(items_of((kind, payload_text.encode())))


def test_the_event_is_found_among_other_items() -> None:
    items = (make_item("attachment", b"x"), make_item("event", b"{}"))
    assert event_index(items) == 1
    assert event_index(items[:1]) is None


def test_valid_sdk_events_that_orjson_refuses_are_read() -> None:
    payloads = (b'{"message":"half \\udcff pair"}', b'{"message":"half ? pair","x":NaN}')
    for payload in payloads:
        item = make_item("event", payload)
        found = describe(envelope_entry(build(None, [item])))
        assert found.title == "half ? pair"


def test_texts_are_short_and_on_one_line() -> None:
    found = about({"message": "a\x00b\x1b[31m " + "c" * 5000, "platform": "p" * 500})
    assert found.title.startswith("a b [31m c")
    assert len(found.title) == 200
    assert found.title.endswith("…")
    assert len(found.platform or "") == 100
    assert one_line("  a \u2028 b\n\tc ") == "a b c"
    assert one_line("\ud800x") == "?x"
    no_texts: list[object] = [None, True, [], {}, 10**5000]
    assert [one_line(value) for value in no_texts] == [""] * 5
    assert one_line(7) == "7"


def test_a_payload_too_large_to_parse_is_listed_without_parsing() -> None:
    found = about({"message": "x", "extra": "y" * (2 * 1024 * 1024)})
    assert (found.type, found.title) == ("default", "(no title)")


def _check(found: Description) -> None:
    for text in found:
        assert text is None or "\n" not in text.replace("\n", "", 100)
        orjson.dumps(text)
    assert found.title
    assert len(found.title) <= 200


@pytest.mark.parametrize("seed", range(4))
def test_no_damaged_event_raises(seed: int) -> None:
    good = next(demo_feed())
    for entry in good:
        if entry.envelope is None:
            continue
        item = entry.envelope.items[0]
        payloads = list(damaged_bytes(item.payload, seed, 15))
        try:
            values = damaged_values(json.loads(item.payload), seed, 15)
            payloads += [json.dumps(value).encode() for value in values]
        except ValueError:  # a payload that is no JSON
            pass
        for payload in payloads:
            damaged = build(None, [make_item(item.type, payload)])
            _check(describe(envelope_entry(damaged)))


def test_deep_nesting_does_not_raise() -> None:
    for payload in (b"[" * 100_000, b'{"exception":' * 5000, b'{"a":' + b"9" * 5000 + b"}", b""):
        _check(describe(envelope_entry(build(None, [make_item("event", payload)]))))


def test_an_undecodable_message_has_its_problem_as_title() -> None:
    found = describe(NewEntry(b"\x00", None, 1.0, undecodable="invalid_json: line 1"))
    assert found[:3] == ("undecodable", None, "invalid_json: line 1")


def test_a_dead_letter_of_an_unknown_format_shows_its_own_reason() -> None:
    letter = Rejection("http_413", "too large", "g", "renamed", 1, 2)
    why = "unknown message format of topic 'renamed': name its consumer with --consumer"
    found = describe(NewEntry(b"\x00", None, 1.0, dead_letter=letter, undecodable=why))
    assert found[:3] == ("undecodable", None, "http_413: too large")
