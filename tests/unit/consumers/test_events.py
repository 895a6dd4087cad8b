"""The events codec: Snuba's JSON event stream to envelopes."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

import orjson
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import TIMESTAMP_MS, examples, message, outcomes
from tests.support.mutations import damaged_bytes, damaged_values

decode = registry.get("events").decode

EXAMPLES = examples("events")
INSERTS = {name: raw for name, raw in EXAMPLES.items() if json.loads(raw)[1] == "insert"}
OTHERS = {name: raw for name, raw in EXAMPLES.items() if name not in INSERTS}
EVENT_ID = "9cdc4c32dff14fbbb012b0aa9e908126"


def insert(data: dict[str, Any], *, version: int = 2, **row: Any) -> bytes:
    columns = {"event_id": EVENT_ID, "group_id": 1, "message": "", "project_id": 1, **row}
    return json.dumps([version, "insert", columns | {"data": data}, {}]).encode()


def decoded(raw: bytes) -> tuple[Envelope, dict[str, Any]]:
    """The envelope and the event in its one item."""
    envelope = decode(message(raw))
    assert isinstance(envelope, Envelope)
    (item,) = envelope.items
    event = json.loads(item.payload)
    assert isinstance(event, dict)
    return envelope, event


def _operation(name: str) -> str:
    return str(json.loads(EXAMPLES[name])[1])


def rejection(raw: bytes | None) -> RejectedMessage:
    with pytest.raises(RejectedMessage) as caught:
        decode(message(raw))
    return caught.value


@pytest.mark.parametrize("name", INSERTS)
def test_an_insert_becomes_one_event_under_the_rows_id(name: str) -> None:
    row = json.loads(INSERTS[name])[2]
    envelope, event = decoded(INSERTS[name])
    assert envelope.event_id == event["event_id"] == row["event_id"]
    assert [item.type for item in envelope.items] == ["event"]
    assert event["timestamp"] == row["data"]["timestamp"]
    assert event["level"] == row["data"]["level"]
    assert event["type"] == row["data"]["type"]


@pytest.mark.parametrize("name", INSERTS)
def test_what_the_server_assigned_stays_behind(name: str) -> None:
    _, event = decoded(INSERTS[name])
    assigned = {"_metrics", "_ref", "_ref_version", "datetime", "errors", "grouping_config"}
    assigned |= {"hashes", "ingest_path", "key_id", "location", "metadata", "nodestore_insert"}
    assigned |= {"project", "received", "title"}
    assert assigned.isdisjoint(event)


def test_what_an_sdk_sent_is_kept() -> None:
    source = json.loads(INSERTS["error-with-threads.json"])[2]["data"]
    _, event = decoded(INSERTS["error-with-threads.json"])
    for name in ("breadcrumbs", "contexts", "dist", "environment", "fingerprint", "platform"):
        assert event[name] == source[name]
    for name in ("culprit", "logger", "release", "sdk", "transaction", "user", "version"):
        assert event[name] == source[name]
    assert event["tags"] == source["tags"]
    assert event["exception"]["values"][0]["value"] == "Some exception."


def test_members_that_nobody_knows_yet_are_kept() -> None:
    assert decoded(insert({"from_next_year": {"a": [1, None]}}))[1]["from_next_year"] == {
        "a": [1, None]
    }


@pytest.mark.parametrize("name", OTHERS)
def test_operations_on_stored_events_are_skipped_by_name(name: str) -> None:
    assert decode(message(OTHERS[name])) == Skipped(json.loads(OTHERS[name])[1])


def test_every_operation_of_the_published_schema_is_known() -> None:
    folder = importlib.resources.files("sentry_kafka_schemas") / "schemas"
    schema = json.loads((folder / "events.v1.schema.json").read_bytes())
    frames = [each["items"] for each in schema["definitions"].values() if _is_frame(each)]
    operations = {items[1]["const"] for items in frames}
    assert len(operations) > 10
    for operation in operations:
        assert decode(message(json.dumps([2, operation, {}]).encode())) == Skipped(operation)


def _is_frame(definition: object) -> bool:
    items = definition.get("items") if isinstance(definition, dict) else None
    return isinstance(items, list) and len(items) > 1 and "const" in items[1]


@pytest.mark.parametrize("operation", ["delete", "delete_groups", "merge", "unmerge"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_operations_of_older_versions_are_skipped_too(version: int, operation: str) -> None:
    raw = json.dumps([version, operation, {"project_id": 1}]).encode()
    assert decode(message(raw)) == Skipped(operation)


def test_an_operation_that_nobody_knows_is_rejected_by_name() -> None:
    error = rejection(json.dumps([2, "explode", {}, {}]).encode())
    assert error.reason == "unknown_operation"
    assert "explode" in error.detail


@pytest.mark.parametrize("version", [0, 1])
def test_an_insert_of_an_older_version_reads_the_same(version: int) -> None:
    assert decoded(insert({"type": "error"}, version=version))[1]["type"] == "error"


@pytest.mark.parametrize("version", [3, -1, "2", 2.0, True, None, [[]]])
def test_another_version_is_rejected(version: Any) -> None:
    assert rejection(json.dumps([version, "insert", {}, {}]).encode()).reason == (
        "unsupported_version"
    )


def test_null_members_and_null_tags_are_left_out() -> None:
    tags = [None, [None, "x"], ["y", None], ["sentry:release", "1"], ["kept", "z"]]
    _, event = decoded(insert({"threads": None, "user": None, "tags": tags}))
    assert event.keys().isdisjoint({"threads", "user"})
    assert event["tags"] == [["kept", "z"]]


def test_tags_may_be_an_object() -> None:
    _, event = decoded(insert({"tags": {"kept": "z", "empty": None, "sentry:user": "id:1"}}))
    assert event["tags"] == {"kept": "z"}


@pytest.mark.parametrize("name", ["exception", "threads", "breadcrumbs"])
@pytest.mark.parametrize("nothing", [{"values": None}, {"values": []}, {"values": [None]}, [], {}])
def test_an_interface_without_values_is_left_out(name: str, nothing: object) -> None:
    assert name not in decoded(insert({name: nothing}))[1]


def test_nulls_between_values_and_frames_are_left_out() -> None:
    values: list[Any] = [
        None,
        {"type": "A", "stacktrace": None, "raw_stacktrace": {"frames": None, "registers": {}}},
        {"type": "B", "stacktrace": {"frames": [None, {"function": "f", "vars": {"x": None}}]}},
    ]
    _, event = decoded(insert({"exception": {"values": values}}))
    assert event["exception"]["values"] == [
        {"type": "A", "raw_stacktrace": {"registers": {}}},
        {"type": "B", "stacktrace": {"frames": [{"function": "f", "vars": {"x": None}}]}},
    ]


def test_the_rows_message_speaks_for_an_event_that_says_nothing() -> None:
    _, event = decoded(insert({"exception": {"values": None}, "message": ""}, message="hello"))
    assert event["logentry"] == {"formatted": "hello"}
    assert "message" not in event


@pytest.mark.parametrize(
    "said",
    [
        {"logentry": {"formatted": "a"}},
        {"message": "a"},
        {"exception": {"values": [{"type": "a"}]}},
    ],
)
def test_the_rows_message_is_not_added_to_an_event_that_speaks(said: dict[str, Any]) -> None:
    _, event = decoded(insert(said, message="a summary of everything"))
    assert {name: event[name] for name in said} == said
    assert "a summary of everything" not in json.dumps(event)


def test_a_missing_timestamp_is_taken_from_the_row_and_then_from_kafka() -> None:
    written = "2023-02-27T15:40:12.223000Z"
    assert decoded(insert({"type": "error"}, datetime=written))[1]["timestamp"] == written
    assert decoded(insert({"datetime": written}))[1]["timestamp"] == written
    assert decoded(insert({"type": "error"}))[1]["timestamp"] == TIMESTAMP_MS / 1000


def test_the_id_falls_back_to_the_payloads_and_then_to_the_place_in_kafka() -> None:
    inner = "a" * 32
    assert decoded(insert({"event_id": inner}, event_id="?"))[0].event_id == inner
    raw = insert({"type": "error"}, event_id=None)
    derived = message(raw).derived_event_id()
    envelope, event = decoded(raw)
    assert envelope.event_id == event["event_id"] == derived


def test_a_dashed_upper_case_id_is_the_same_event() -> None:
    dashed = "9CDC4C32-DFF1-4FBB-B012-B0AA9E908126"
    assert decoded(insert({"type": "error"}, event_id=dashed))[0].event_id == EVENT_ID


@pytest.mark.parametrize("kind", ["transaction", "feedback"])
def test_events_with_an_item_type_of_their_own_get_it(kind: str) -> None:
    assert decoded(insert({"type": kind}))[0].items[0].type == kind


def test_numbers_beyond_64_bits_do_not_stop_an_event() -> None:
    raw = insert({"extra": {"n": 0}}).replace(b'"n": 0', b'"n": 123456789012345678901234567890')
    assert decoded(raw)[1]["extra"]["n"] == 123456789012345678901234567890.0
    largest = insert({"extra": {"n": 2**64 - 1}})
    assert decoded(largest)[1]["extra"]["n"] == 2**64 - 1


def test_nesting_that_cannot_be_written_again_is_rejected() -> None:
    raw = insert({"extra": 0}).replace(b'"extra": 0', b'"extra": ' + b"[" * 400 + b"]" * 400)
    assert rejection(raw).reason == "invalid_json"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'[2, "insert", {"data": {"a": NaN}}]', "invalid_json"),
        (b"{}", "invalid_message"),
        (b"[]", "invalid_message"),
        (b'[2, "insert"]', "invalid_message"),
        (b'[2, 5, {"data": {}}]', "unknown_operation"),
        (b'[2, "insert", []]', "invalid_event"),
        (b'[2, "insert", {"data": null}]', "invalid_event"),
        (b'[2, "insert", {"data": {}}]', "invalid_event"),
    ],
)
def test_what_is_no_event_is_rejected_with_its_reason(raw: bytes | None, reason: str) -> None:
    error = rejection(raw)
    assert error.reason == reason
    assert 0 < len(error.detail) < 400


def test_a_syntax_error_says_where() -> None:
    assert "line 1 column 5" in rejection(b"[2, x]").detail


@pytest.mark.parametrize("name", EXAMPLES)
def test_damaged_input_is_rejected_and_never_raises_anything_else(name: str) -> None:
    damaged = [*damaged_bytes(EXAMPLES[name], seed=1, count=300)]
    damaged += [orjson.dumps(v) for v in damaged_values(json.loads(EXAMPLES[name]), 2, count=300)]
    counts = outcomes(decode, damaged)
    assert counts.total() == 600
    assert counts["invalid_json"] > 200
    assert counts["delivered" if name in INSERTS else f"skipped {_operation(name)}"] > 50
