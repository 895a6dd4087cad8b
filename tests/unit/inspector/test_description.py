"""Descriptions of entries: correct for valid events, and never an exception."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.inspector.demo import demo_feed
from consumer_fleet.inspector.description import Description, describe, event_index, one_line
from consumer_fleet.inspector.entry import KafkaPosition, NewEntry, Rejection
from tests.support.inspecting import envelope_entry, event_entry
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


def test_an_envelope_without_an_event_is_named_after_its_items() -> None:
    assert items_of(("session", b'{"status":"crashed"}'))[:3] == (
        "session",
        None,
        "session crashed",
    )
    check_in = b'{"monitor_slug":"nightly","status":"missed"}'
    assert items_of(("check_in", check_in)).title == "nightly: missed"
    assert items_of(("statsd", b"x"), ("metric_meta", b"y")).title == "statsd, metric_meta"
    assert items_of(("session", b"\xff")).title == "session"
    assert items_of().type == "empty"


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


def test_title_culprit_tags_id_topic_and_dead_letter_are_searched() -> None:
    event = error(tags=[["Region", "NORTH"], ["odd"], None], release="shop@1", environment="prod")
    letter = Rejection("http_400", "bad request", "g", "events", 1, 2)
    entry = event_entry(
        event, "c" * 32, origin=KafkaPosition("ingest-events-dlq", 0, 0), dead_letter=letter
    )
    searched = describe(entry).searched
    for word in (
        "valueerror: bad", "shop.total", "region:north", "release:shop@1", "environment:prod",
        "c" * 32, "ingest-events-dlq", "http_400", "bad request",
    ):  # fmt: skip
        assert word in searched, word
    assert (
        len(describe(event_entry({"tags": {str(n): "v" * 500 for n in range(99)}})).searched) < 2500
    )


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
