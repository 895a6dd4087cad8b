"""Messages as entries: decoded, or shown as bytes."""

from __future__ import annotations

import pytest

from consumer_fleet.capture.envelope import Envelope, build, make_item, parse
from consumer_fleet.codec import Decode, RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.dead_letter_headers import Facts, with_facts
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.inspector.entry import KafkaPosition, Rejection
from consumer_fleet.inspector.feeder import as_bytes, dead_letter_entry, entry_of
from consumer_fleet.kafka.chunk import Record

decode = registry.get("envelopes").decode

EVENT_ID = "9ec79c33ec9942ab8353589fcb2e04dc"
TIME_MS = 1_700_000_000_500


def envelope(event_id: str | None = EVENT_ID) -> bytes:
    return as_bytes(build(event_id, [make_item("event", b'{"message":"hello"}')]))


def record(value: bytes | None, **members: object) -> Record:
    return Record(**{"offset": 7, "timestamp_ms": TIME_MS, "key": None, "value": value,
                     "headers": (), **members})  # type: ignore[arg-type]  # by name  # fmt: skip


def test_a_message_is_decoded_and_has_its_position() -> None:
    entry = entry_of("envelopes", 3, record(envelope()), decode)
    assert entry.envelope is not None
    assert entry.envelope.event_id == EVENT_ID
    assert parse(entry.raw) == entry.envelope
    assert entry.origin == KafkaPosition("envelopes", 3, 7, TIME_MS)
    assert entry.received_at == TIME_MS / 1000
    assert (entry.answers, entry.dead_letter, entry.undecodable) == ((), None, None)


def _refuse(message: RawMessage) -> Envelope | Skipped:
    raise RejectedMessage("http_400", "line\nbreak \ud800")


def _crash(message: RawMessage) -> Envelope | Skipped:
    raise KeyError(message.value)


def _skip(message: RawMessage) -> Envelope | Skipped:
    return Skipped("end_merge")


@pytest.mark.parametrize(
    ("codec", "why"),
    [
        (_refuse, "http_400: line break ?"),
        (_crash, "codec_error: KeyError"),
        (_skip, "filtered: end_merge"),
    ],
)
def test_a_message_that_a_codec_refuses_is_shown_as_bytes(codec: Decode, why: str) -> None:
    entry = entry_of("events", 0, record(b"\x00value"), codec)
    assert (entry.raw, entry.envelope, entry.undecodable) == (b"\x00value", None, why)
    assert entry.origin == KafkaPosition("events", 0, 7, TIME_MS)


def test_a_tombstone_differs_from_an_empty_value() -> None:
    assert "tombstone" in (entry_of("envelopes", 0, record(None), decode).undecodable or "")
    assert "empty" in (entry_of("envelopes", 0, record(b""), decode).undecodable or "")


def test_without_a_broker_timestamp_the_receive_time_is_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumer_fleet.inspector.feeder.time.time", lambda: 42.0)
    entry = entry_of("envelopes", 0, record(envelope(), timestamp_ms=None), decode)
    assert entry.received_at == 42.0


FACTS = Facts("http_413", "too large", "envelopes", 5, 99, TIME_MS, "group-1")


def test_a_dead_letter_is_decoded_by_its_original_topic_and_has_its_reason() -> None:
    asked: list[str] = []

    def find(topic: str) -> Decode:
        asked.append(topic)
        return decode

    headers = with_facts((("own", b"1"),), FACTS)
    entry = dead_letter_entry("envelopes-dlq", 0, record(envelope(None), headers=headers), find)

    assert asked == ["envelopes"]
    assert entry.dead_letter == Rejection("http_413", "too large", "group-1", "envelopes", 5, 99)
    assert entry.origin == KafkaPosition("envelopes-dlq", 0, 7, TIME_MS)
    assert entry.envelope is not None
    # The id of its first delivery, which is derived from its original position.
    there = RawMessage("envelopes", 5, 99, TIME_MS, None)
    assert entry.envelope.event_id == there.derived_event_id()


def test_a_message_rejected_twice_is_decoded_by_its_first_topic() -> None:
    twice = with_facts(
        with_facts((), FACTS), Facts("http_400", "", "envelopes-dlq", 0, 3, None, "replay")
    )
    topics: list[str] = []

    def find(topic: str) -> Decode:
        topics.append(topic)
        return decode

    entry = dead_letter_entry("dlq-2", 0, record(envelope(), headers=twice), find)
    assert topics == ["envelopes"]
    assert entry.dead_letter is not None
    assert (entry.dead_letter.reason, entry.dead_letter.topic) == ("http_400", "envelopes-dlq")


def test_a_dead_letter_of_an_unknown_or_missing_topic_is_shown_as_bytes() -> None:
    headers = with_facts((), FACTS)
    unknown = dead_letter_entry("d", 0, record(b"x", headers=headers), lambda _topic: None)
    assert "'envelopes'" in (unknown.undecodable or "")
    assert unknown.dead_letter is not None
    plain = dead_letter_entry("d", 0, record(b"x"), lambda _topic: decode)
    assert (plain.raw, plain.dead_letter) == (b"x", None)
    assert "dlq." in (plain.undecodable or "")


def test_more_items_than_can_be_shown_are_shown_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer_fleet.inspector.feeder.MAX_ITEMS", 2)
    items = [make_item("attachment", b"x")] * 3
    assert entry_of("t", 0, record(as_bytes(build(None, items[:2]))), decode).undecodable is None
    entry = entry_of("t", 0, record(as_bytes(build(None, items))), decode)
    assert entry.envelope is None
    assert entry.undecodable == "too many items: 3; the inspector shows at most 2"
