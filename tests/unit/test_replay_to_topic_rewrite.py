"""New event ids and moved times: consistent, in every format, and nothing else is touched."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgpack
import orjson
import pytest

from consumers.registry import CONSUMERS, get
from consumers.replay.rewrite import Rewriter, Shift
from fleet.capture.envelope import Envelope
from fleet.kafka.chunk import Record
from tests.support.messages import examples, message

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


@pytest.mark.parametrize("consumer", [each.name for each in CONSUMERS])
def test_every_example_decodes_to_the_same_event_with_another_id(consumer: str) -> None:
    rewriter, decode = new_ids(consumer), get(consumer).decode
    topic = "events" if consumer == "events" else "ingest-events"
    values = [b'{"event_id":"%s"}\n{"type":"event"}\n{"event_id":"%s"}' % ((OLD_ID.encode(),) * 2)]
    if consumer != "envelopes":
        values = list(examples(topic).values())
    ids = 0
    for value in values:
        before = decode(message(value))
        after = decode(message(value_of(rewriter(record(value)))))
        if isinstance(before, Envelope):
            assert isinstance(after, Envelope)
            assert after.event_id != before.event_id
            for old, new in zip(before.items, after.items, strict=True):
                assert new.type == old.type
                if new.type == "event":
                    ids += 1
                    event = orjson.loads(new.payload)
                    assert event["event_id"].replace("-", "") == after.event_id
                    assert event == orjson.loads(old.payload) | {"event_id": event["event_id"]}
        else:
            assert after == before
    assert ids
    assert rewriter.unreadable == 0


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
