"""New event ids and moved times: consistent, in every format, and nothing else is touched."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgpack
import orjson
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Fragment, Incomplete, Skipped
from consumer_fleet.consumers.format import json_object
from consumer_fleet.consumers.registry import CONSUMERS, get
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.replay.rewrite import Rewriter, Shift
from tests.support.messages import containing, examples, message, now

NOW_S = 1_800_000_000.0
OLD_ID = "0123456789abcdef0123456789abcdef"


def record(value: bytes | None, timestamp_ms: int | None = 1_700_000_000_000) -> Record:
    return Record(7, timestamp_ms, b"key", value, (("h", None),))


def new_ids(consumer: str) -> Rewriter:
    return Rewriter(consumer, new_event_ids=True, shift=None)


def shifted(consumer: str = "events") -> Rewriter:
    return Rewriter(consumer, new_event_ids=False, shift=Shift(lambda: NOW_S))


def value_of(changed: Record) -> bytes:
    assert changed.value is not None
    return changed.value


def without_ids(payload: bytes) -> Any:
    return orjson.loads(re.sub(rb'"(event|replay)_id":"[0-9a-f-]+"', rb'"\1_id":""', payload))


@pytest.mark.parametrize("consumer", [each.name for each in CONSUMERS])
def test_every_example_decodes_to_the_same_event_with_another_id(consumer: str) -> None:
    rewriter, decode = new_ids(consumer), get(consumer).decode
    values = [containing(consumer, {"event_id": OLD_ID, "platform": "python"})]
    if get(consumer).format.schema is not None:
        values += examples(consumer).values()
    ids = 0
    for value in values:
        raw = now(message(value))
        before = decode(raw)
        after = decode(raw._replace(value=value_of(rewriter(record(value)))))
        if isinstance(before, Envelope):
            assert isinstance(after, Envelope)
            assert after.event_id is None or after.event_id != before.event_id
            for old, new in zip(before.items, after.items, strict=True):
                assert new.type == old.type
                event = json_object(new.payload)
                if event is not None and "event_id" in event:
                    ids += 1
                    assert event["event_id"].replace("-", "") != OLD_ID
                    assert after.event_id in (event["event_id"].replace("-", ""), None)
                    assert without_ids(new.payload) == without_ids(old.payload)
        elif isinstance(before, Skipped):
            assert after == before
        else:
            assert type(after) is type(before)
    assert ids
    assert rewriter.unreadable == 0


def test_an_attachments_chunks_still_belong_to_it() -> None:
    rewriter, decode = new_ids("ingest-attachments"), get("ingest-attachments").decode
    found = examples("ingest-attachments")
    whole, chunk = (
        decode(message(value_of(rewriter(record(found[f"{name}.msgpack"])))))
        for name in ("attachment", "attachment_chunk")
    )
    assert isinstance(whole, Incomplete)
    assert isinstance(chunk, Fragment)
    assert [each.key for each in whole.blobs] == [chunk.blob]
    before = decode(message(found["attachment_chunk.msgpack"]))
    assert isinstance(before, Fragment)
    assert before.blob != chunk.blob


def test_an_id_becomes_the_same_new_one_everywhere_and_another_in_the_next_replay() -> None:
    rewriter = new_ids("ingest-events")

    def replayed(rewriter: Rewriter, fields: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = msgpack.unpackb(value_of(rewriter(record(msgpack.packb(fields)))))
        return found

    event = replayed(
        rewriter,
        {"type": "event", "event_id": OLD_ID, "payload": orjson.dumps({"event_id": OLD_ID})},
    )
    dashed = "01234567-89ab-cdef-0123-456789abcdef"
    report = replayed(
        rewriter, {"type": "user_report", "payload": orjson.dumps({"event_id": dashed})}
    )
    assert event["event_id"] == orjson.loads(event["payload"])["event_id"] != OLD_ID
    named = orjson.loads(report["payload"])["event_id"]
    assert named.count("-") == 4
    assert named.replace("-", "") == event["event_id"]
    again = replayed(new_ids("ingest-events"), {"type": "event", "event_id": OLD_ID})
    assert again["event_id"] != event["event_id"]


def test_all_times_move_by_what_makes_the_first_message_now() -> None:
    row: dict[str, Any] = {
        "datetime": "2023-11-14T22:13:20.000000Z",
        "data": {
            "timestamp": 1_700_000_000.5,
            "received": 1_700_000_001,
            "datetime": "2023-11-14T22:13:20+00:00",
            "start_timestamp": "2023-11-14 22:13:10",
            "breadcrumbs": {"values": [{"timestamp": 1_699_999_990.25}]},
            "spans": [{"start_timestamp": 1_699_999_999.0, "timestamp": None}],
            "extra": {"timestamp": 1_700_000_000, "received": "2023-11-14T22:13:20Z"},
            "contexts": {"profile": {"timestamp": 12}, "app": {"started": "not a time"}},
        },
    }
    rewriter = shifted()
    first = rewriter(record(orjson.dumps([2, "insert", row, {}])))
    second = rewriter(record(None, 1_700_000_060_000))
    assert first.timestamp_ms == NOW_S * 1000
    assert second.timestamp_ms == NOW_S * 1000 + 60_000
    assert second.value is None
    moved = orjson.loads(value_of(first))[2]
    data = moved["data"]
    assert datetime.fromisoformat(moved["datetime"]).timestamp() == NOW_S
    assert moved["datetime"] == "2027-01-15T08:00:00.000000Z"
    assert data["timestamp"] == NOW_S + 0.5
    assert data["received"] == int(NOW_S) + 1
    assert data["datetime"] == "2027-01-15T08:00:00+00:00"
    assert data["start_timestamp"] == "2027-01-15 07:59:50"
    assert data["breadcrumbs"]["values"][0]["timestamp"] == NOW_S - 10 + 0.25
    assert data["spans"][0] == {"start_timestamp": NOW_S - 1, "timestamp": None}
    assert data["extra"] == row["data"]["extra"]
    assert data["contexts"] == row["data"]["contexts"]


def test_what_cannot_be_parsed_stays_and_is_counted() -> None:
    rewriter = shifted("ingest-events")
    for value in (b"\xc1", b"text", msgpack.packb([1]), msgpack.packb({"attachments": [3]})):
        assert rewriter(record(value)).value == value
    assert rewriter.unreadable == 4


def test_tombstones_keys_and_headers_stay() -> None:
    for value in (None, b""):
        assert new_ids("events")(record(value)) == record(value)


def test_a_message_without_a_timestamp_gets_none() -> None:
    assert shifted()(record(b"[]", None)).timestamp_ms is None


def test_the_last_message_becomes_the_present_where_it_is_known() -> None:
    shift = Shift(lambda: NOW_S, 1_700_000_060_000)
    assert shift.of_record(record(b"", 1_700_000_000_000)).timestamp_ms == NOW_S * 1000 - 60_000
    assert shift.of_record(record(b"", 1_700_000_060_000)).timestamp_ms == NOW_S * 1000


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("20231114T221320Z", "20270115T080000Z"),
        ("20231114T221320.5+0200", "20270115T080000.5+0200"),
        ("2023-11-14T22:13Z", "2027-01-15T07:59Z"),
        ("2023-11-14T22:13:20.123Z", "2027-01-15T08:00:00.123Z"),
        ("2023-11-14t22:13:20,123456789z", "2027-01-15t08:00:00,123456789z"),
        ("2023-11-14 22:13:20+01", "2027-01-15 08:00:00+01"),
        ("1700000000000000001", "1800000000000000001"),
        ("2023-11-14", "2023-11-14"),
        ("2023-13-14T22:13:20Z", "2023-13-14T22:13:20Z"),
        ("9999-12-31T00:00:00Z", "9999-12-31T00:00:00Z"),
        ("2023-W46-2T22:13:20Z", "2023-W46-2T22:13:20Z"),
        ("1700000000", "1700000000"),
        (1_700_000_000, 1_800_000_000),
        (1_700_000_000_123, 1_800_000_000_123),
        (1_700_000_000_123_456, 1_800_000_000_123_456),
        (1_700_000_000_123_456_789, 1_800_000_000_123_456_789),
        (1_700_000_000.25, 1_800_000_000.25),
        (1_700_000_000_000.5, 1_800_000_000_000.5),
        (12, 12), (-1_700_000_000, -1_700_000_000), (True, True), (None, None), (1e300, 1e300),
    ],
)  # fmt: skip
def test_a_moved_time_keeps_its_spelling_and_its_unit(before: object, after: object) -> None:
    shift = Shift(lambda: NOW_S)
    shift.of_record(record(None))
    assert shift.of_value(before) == after
    assert type(shift.of_value(before)) is type(after)


def items(*payloads: tuple[str, object]) -> bytes:
    lines: list[bytes] = [b"{}"]
    for kind, payload in payloads:
        lines += [orjson.dumps({"type": kind}), orjson.dumps(payload)]
    return b"\n".join(lines)


def payloads_of(changed: Record) -> list[Any]:
    return [orjson.loads(line) for line in value_of(changed).split(b"\n")[2::2] if line]


def test_every_time_of_an_item_moves() -> None:
    span = {"start_timestamp": 1_700_000_000.5, "end_timestamp": 1_700_000_001.5}
    replay = {"timestamp": 1_700_000_002, "replay_start_timestamp": 1_700_000_000}
    nanoseconds = {"value": "1700000000000000000", "type": "integer"}
    log = {"timestamp": 1_700_000_000.0, "attributes": {
        "sentry.observed_timestamp_nanos": nanoseconds, "of.mine": nanoseconds}}  # fmt: skip
    otel = {"startTimeUnixNano": "1700000000000000000", "end_time_unix_nano": 1_700_000_001 * 10**9}
    app = {"start_timestamp_ms": 1_700_000_000_000, "contexts": {"app": {
        "app_start_time": "2023-11-14T22:13:20Z"}}}  # fmt: skip
    value = items(("span", span), ("replay_event", replay), ("log", {"items": [log]}),
                  ("otel_span", otel), ("event", app))  # fmt: skip
    moved = payloads_of(shifted("envelopes")(record(value)))
    assert moved[0] == {"start_timestamp": NOW_S + 0.5, "end_timestamp": NOW_S + 1.5}
    assert moved[1] == {"timestamp": NOW_S + 2, "replay_start_timestamp": NOW_S}
    attributes = moved[2]["items"][0]["attributes"]
    assert attributes["sentry.observed_timestamp_nanos"]["value"] == "1800000000000000000"
    assert attributes["of.mine"] == nanoseconds
    assert moved[3] == {
        "startTimeUnixNano": "1800000000000000000", "end_time_unix_nano": 1_800_000_001 * 10**9
    }  # fmt: skip
    assert moved[4]["start_timestamp_ms"] == NOW_S * 1000
    assert moved[4]["contexts"]["app"]["app_start_time"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("consumer", "value"),
    [
        ("events", b'[2,"insert",{"data":{"message":"m"}},{}]'),
        ("events", b'[2,"insert",{"event_id":"none","data":{"event_id":7,"message":"m"}},{}]'),
        ("ingest-events", msgpack.packb({"type": "event", "payload": b'{"message":"m"}'})),
        ("ingest-events", msgpack.packb({"type": "event", "payload": b"no json"})),
        ("ingest-events", msgpack.packb({"type": "user_report", "payload": b'{"comments":"c"}'})),
        ("ingest-events", msgpack.packb({"type": "attachment", "attachment": {"data": b"x"}})),
        ("envelopes", items(("event", {"message": "m"}), ("session", {"sid": "s"}))),
        ("envelopes", items(("event", {"message": "m"})) .replace(b"{}", b'{"event_id":"x"}', 1)),
        ("envelopes", b'{"a":1}\n{"type":"attachment","length":2,"filename":"f"}\nab'),
    ],
)  # fmt: skip
def test_an_event_without_an_id_gets_one(consumer: str, value: bytes) -> None:
    decode, ids = get(consumer).decode, set()
    before = decode(message(value))
    assert isinstance(before, Envelope)
    for rewriter in (new_ids(consumer), new_ids(consumer)):
        for _ in range(2):
            changed = value_of(rewriter(record(value)))
            after = decode(message(changed, topic="elsewhere"))
            assert isinstance(after, Envelope)
            assert after.event_id is not None
            ids.add(after.event_id)
            assert [item.type for item in after.items] == [item.type for item in before.items]
            for item in after.items:
                if item.type == "event" and item.payload != b"no json":
                    assert orjson.loads(item.payload)["event_id"] == after.event_id
        assert (rewriter.unreadable, rewriter.without_id) == (0, 0)
    assert len(ids) == 4
    assert before.event_id not in ids


@pytest.mark.parametrize(
    ("consumer", "value"),
    [
        ("events", b'[2,"end_merge",{"data":{"project":1}},{}]'),
        ("envelopes", items(("session", {"sid": "s"}))),
        ("envelopes", b"{}"),
    ],
)
def test_what_is_no_event_gets_no_id(consumer: str, value: bytes) -> None:
    rewriter = new_ids(consumer)
    assert b"event_id" not in value_of(rewriter(record(value)))
    assert (rewriter.unreadable, rewriter.without_id) == (0, 0)


def test_an_event_that_only_its_payload_names_keeps_one_id() -> None:
    event = {"type": "event", "payload": orjson.dumps({"event_id": OLD_ID})}
    rewriter = new_ids("ingest-events")
    fields = msgpack.unpackb(value_of(rewriter(record(msgpack.packb(event)))))
    assert fields["event_id"] == orjson.loads(fields["payload"])["event_id"] != OLD_ID
    changed = new_ids("envelopes")(record(items(("event", {"event_id": OLD_ID}))))
    assert value_of(changed).startswith(b"{}\n")


def test_what_its_consumer_rejects_is_counted_where_it_has_no_id() -> None:
    rewriter = new_ids("ingest-events")
    value = msgpack.packb({"type": "attachment_chunk", "payload": b"x"})
    assert rewriter(record(value)).value == value
    assert (rewriter.unreadable, rewriter.without_id) == (0, 1)


def test_a_replay_and_a_profile_keep_their_ties() -> None:
    rewriter = new_ids("envelopes")
    replay = {"event_id": OLD_ID, "replay_id": OLD_ID, "error_ids": [OLD_ID, "x"]}
    profile = {"event_id": OLD_ID, "transaction": {"id": OLD_ID}, "transactions": [{"id": OLD_ID}]}
    event = {"contexts": {"profile": {"profile_id": OLD_ID}, "trace": {"trace_id": OLD_ID}}}
    new = payloads_of(
        rewriter(record(items(("replay_event", replay), ("profile", profile), ("event", event))))
    )
    other = new[0]["event_id"]
    assert other != OLD_ID
    assert new[0] == {"event_id": other, "replay_id": other, "error_ids": [other, "x"]}
    assert new[1] == {
        "event_id": other, "transaction": {"id": other}, "transactions": [{"id": other}]
    }  # fmt: skip
    assert new[2]["contexts"] == {
        "profile": {"profile_id": other}, "trace": {"trace_id": OLD_ID}
    }  # fmt: skip
