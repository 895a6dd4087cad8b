"""The table of item types and what is derived from it."""

from __future__ import annotations

import pytest

from consumer_fleet.capture.envelope import build, make_item
from consumer_fleet.capture.items import (
    HAS_EVENT,
    ITEMS,
    KNOWN_CATEGORIES,
    NAMES_EVENT,
    NEEDS_EVENT,
    OPAQUE_TYPES,
    event_id_in_payload,
    is_limitable,
    item_type_of,
    limited_items,
    without_items,
)

ID = "9ec79c33ec9942ab8353589fcb2e04dc"


def test_an_event_belongs_to_itself_and_names_its_id_before_other_items_do() -> None:
    for name, facts in ITEMS.items():
        assert not facts.is_event or facts.needs_event, name
        assert not (facts.is_opaque and (facts.names_event or facts.has_event)), name
    assert NAMES_EVENT == ("event", "transaction", "feedback", "user_report")


def test_relays_item_types_that_require_an_event() -> None:
    # relay-server/src/envelope/item.rs, Item::requires_event
    assert {
        "attachment", "event", "feedback", "form_data", "profile", "raw_security", "replay_event",
        "security", "transaction", "unreal_report", "user_report",
    } == NEEDS_EVENT  # fmt: skip
    assert {"attachment", "replay_recording", "statsd"} <= OPAQUE_TYPES
    assert {"error", "transaction", "attachment", "replay", "monitor"} <= KNOWN_CATEGORIES


@pytest.mark.parametrize("event_type", [None, "error", "default", 7, ["transaction"], "attachment"])
def test_most_events_travel_in_an_event_item(event_type: object) -> None:
    assert item_type_of(event_type) == "event"
    assert item_type_of("transaction") == "transaction"
    assert item_type_of("feedback") == "feedback"


def test_the_event_id_of_a_payload_is_found() -> None:
    items = [make_item("attachment", b"{}"), make_item("event", b'{"event_id":"%s"}' % ID.encode())]
    assert event_id_in_payload(build(None, items)) == ID
    assert event_id_in_payload(build(None, [make_item("event", b"not json")])) is None
    assert event_id_in_payload(build(None, [])) is None
    assert "event" in HAS_EVENT


@pytest.mark.parametrize("kind", [["event.minidump"], {}, 1, None, "event.minidump"])
def test_an_attachments_type_of_any_kind_is_judged_under_a_limit(kind: object) -> None:
    envelope = build(ID, [make_item("attachment", b"x", attachment_type=kind)])
    is_event = kind == "event.minidump"
    assert bool(limited_items(envelope, ["error"])) is is_event
    assert bool(limited_items(envelope, ["attachment"])) is not is_event


def test_a_limit_on_everything_lets_reports_of_losses_through() -> None:
    report, error = make_item("client_report", b"{}"), make_item("event", b"{}")
    assert not is_limitable(build(None, [report]))
    assert is_limitable(build(ID, [report, error]))
    assert limited_items(build(None, [report]), KNOWN_CATEGORIES) == ()


def test_only_the_named_types_are_dropped() -> None:
    kinds = ["event", "statsd", "metric_buckets", "metric_meta", "trace_metric"]
    envelope = build(ID, [make_item(kind, b"{}") for kind in kinds])
    left = without_items(envelope, {"statsd"})
    assert [item.type for item in left.items] == [kind for kind in kinds if kind != "statsd"]
