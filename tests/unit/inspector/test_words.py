"""An entry is found by everything that is shown of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.inspector.description import Payloads, describe
from consumer_fleet.inspector.entry import Filter, KafkaPosition, NewEntry, Rejection
from consumer_fleet.inspector.store import Store
from consumer_fleet.inspector.words import searched_text, trace_ids
from tests.support.inspecting import envelope_entry, event_entry

TRACE = "0af7651916cd43dd8448eb211c80319c"


def item_entry(kind: str, payload: Any, **attributes: object) -> NewEntry:
    return envelope_entry(
        build(None, [make_item(kind, json.dumps(payload).encode(), **attributes)])
    )


def words(entry: NewEntry) -> str:
    assert entry.envelope is not None
    payloads = Payloads(entry.envelope.items)
    return searched_text(entry, describe(entry, payloads), payloads, trace_ids(payloads))


INNER = {"values": [{"type": "OSError", "value": "disk gone"}, {"type": "JobFailed", "value": "x"}]}
LOG = {
    "trace_id": TRACE,
    "body": "low stock",
    "attributes": {"shop": {"value": "Basel", "type": "string"}},
}
METRIC = {"name": "orders.paid", "type": "counter", "value": 1}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (event_entry({"exception": INNER}), "disk gone"),
        (event_entry({"logentry": {"formatted": "Rates were read"}}), "rates were read"),
        (event_entry({"tags": [["Region", "NORTH"], ["odd"], None]}), "region:north"),
        (event_entry({"release": "shop@1"}), "release:shop@1"),
        (event_entry({"user": {"email": "jane@example.com", "id": 4711}}), "4711"),
        (event_entry({"user": {"email": "jane@example.com"}}), "jane@example.com"),
        (event_entry({"contexts": {"trace": {"trace_id": TRACE}}}), TRACE),
        (item_entry("log", {"items": [METRIC, LOG]}), "low stock"),
        (item_entry("log", {"items": [LOG]}), "shop:basel"),
        (item_entry("log", {"items": [LOG]}), TRACE),
        (item_entry("trace_metric", {"items": [METRIC]}), "orders.paid"),
        (item_entry("check_in", {"monitor_slug": "nightly"}), "nightly"),
        (item_entry("user_report", {"comments": "It broke"}), "it broke"),
        (item_entry("attachment", 1, filename="Rates.log"), "rates.log"),
        (event_entry({}, origin=KafkaPosition("ingest-dlq", 0, 0)), "ingest-dlq"),
        (event_entry({}, dead_letter=Rejection("http_400", "bad", "g", "t", 1, 2)), "http_400"),
        (NewEntry(b"x", None, 1.0, undecodable="not a map"), "not a map"),
    ],
)  # fmt: skip
def test_it_is_found_by(entry: NewEntry, text: str) -> None:
    store = Store()
    store.add_all([event_entry({"message": "another"}), entry])
    assert [found.id for found in store.page(Filter(text=text)).events] == [2]
    store.close()


def test_frames_do_not_displace_what_people_search_by() -> None:
    frames = [{"function": f"f{number}", "vars": {"x": "y" * 400}} for number in range(100)]
    values = [{"type": "E", "stacktrace": {"frames": frames}}]
    found = words(event_entry({"exception": {"values": values}, "extra": {"note": "kept"}}))
    assert "kept" in found
    assert "f1" in found
    assert len(found) <= 6000


def test_source_around_the_lines_that_ran_and_packages_are_not_searched() -> None:
    frame = {"context_line": "raise KeyError", "pre_context": ["before"], "post_context": ["after"]}
    values = [{"type": "KeyError", "stacktrace": {"frames": [frame]}}]
    found = words(event_entry({"exception": {"values": values}, "modules": {"flask": "3.14"}}))
    assert "raise keyerror" in found
    assert not [text for text in ("before", "after", "3.14") if text in found]


def test_a_search_finds_parts_of_words_and_short_words() -> None:
    store = Store()
    store.add_all(
        [event_entry({"message": text}) for text in ("RateMissing of CHF", 'a "b" c', "")]
    )
    for text, ids in [
        ("temiss", [1]), ("chf rate", [1]), ("hf", [1]), ('"b"', [2]), ("rate b", []), ("*", []),
        ("of xyz", []), ("OR", []), ("a", [2, 1]),
    ]:  # fmt: skip
        found = [entry.id for entry in store.page(Filter(text=text)).events if "err" not in text]
        assert [entry for entry in found if entry != 3] == ids, text
    store.close()


def test_the_traces_of_all_items_are_known_once() -> None:
    other = "f" * 32
    items = [
        make_item("log", json.dumps({"items": [LOG, {**LOG, "trace_id": other}, LOG]}).encode()),
        make_item("span", json.dumps({"trace_id": TRACE.upper()}).encode()),
        make_item("profile", json.dumps({"transaction": {"trace_id": "no"}}).encode()),
    ]
    assert trace_ids(Payloads(tuple(items))) == [TRACE, other]


@pytest.mark.parametrize("payload", [b"", b"[" * 9999, b'{"contexts":{"trace":7},"items":[1,{}]}'])
def test_damaged_payloads_have_few_words_but_never_raise(payload: bytes) -> None:
    entry = envelope_entry(build(None, [make_item("log", payload)]))
    assert "log" in words(entry)
