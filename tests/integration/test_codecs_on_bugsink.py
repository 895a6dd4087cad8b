"""The codecs' envelopes are accepted and shown correctly by a real Sentry-compatible server."""

from __future__ import annotations

import http.client
import json
import random
import uuid
from typing import Any
from urllib.parse import urlsplit

import msgpack
import pytest

from consumer_fleet.capture.envelope import Envelope, build, make_item, serialize
from consumer_fleet.codec import Decode, Fragment, Incomplete
from consumer_fleet.consumers import registry
from tests.support.attachments import attached_event
from tests.support.bugsink import Bugsink
from tests.support.messages import containing, examples, message, now

DECODE_EVENTS = registry.get("events").decode
DECODE_INGEST_EVENTS = registry.get("ingest-events").decode
DECODE_INGEST_ATTACHMENTS = registry.get("ingest-attachments").decode
DECODE_ENVELOPES = registry.get("envelopes").decode
# The schema is that of errors.
OF_TRANSACTIONS = {"breakdowns", "measurements", "spans", "start_timestamp"}
LOG_MESSAGE = "Log Message"  # how Bugsink titles an event without an exception


def deliver(bugsink: Bugsink, decode: Decode, value: bytes) -> str:
    """Decode the message and post its envelope; returns the event's id, "" for one without."""
    envelope = decode(now(message(value)))
    assert isinstance(envelope, Envelope)
    post(bugsink, envelope)
    return envelope.event_id or ""


def post(bugsink: Bugsink, envelope: Envelope) -> None:
    dsn = urlsplit(bugsink.dsn)
    body = serialize(envelope, dsn=bugsink.dsn, sent_at="2026-01-01T00:00:00Z")
    connection = http.client.HTTPConnection("127.0.0.1", bugsink.port, timeout=30)
    try:
        path = f"/api{dsn.path}/envelope/"
        connection.request(
            "POST", path, body, {"X-Sentry-Auth": f"Sentry sentry_key={dsn.username}"}
        )
        response = connection.getresponse()
        assert response.status == 200, response.read()
    finally:
        connection.close()


def expected_title(row: dict[str, Any]) -> tuple[str, str]:
    """The example's own title: its last exception, its message, or its row's message."""
    data = row["data"]
    chain = [each for each in (data.get("exception") or {}).get("values") or [] if each]
    if chain:
        return chain[-1]["type"], chain[-1]["value"]
    return LOG_MESSAGE, (data.get("logentry") or {}).get("formatted") or row["message"]


def test_every_inserted_event_is_shown_as_the_error_that_it_is(bugsink: Bugsink) -> None:
    rows: dict[str, dict[str, Any]] = {}
    for raw in examples("events").values():
        version, operation, row, *state = json.loads(raw)
        if operation != "insert":
            continue
        # Several examples share an id, and Bugsink keeps one event per id.
        row["event_id"] = uuid.uuid4().hex
        value = json.dumps([version, operation, row, *state]).encode()
        rows[deliver(bugsink, DECODE_EVENTS, value)] = row
    assert len(rows) > 5
    shown = bugsink.wait_for_ids(rows)
    for event_id, row in rows.items():
        event = shown[event_id]
        assert (event.title_type, event.title_value) == expected_title(row)
        assert event.level == row["data"]["level"]
        assert event.platform == row["data"]["platform"]
        assert event.data["timestamp"] == row["data"]["timestamp"]


def test_no_member_of_an_inserted_event_is_foreign_to_sentrys_schema(bugsink: Bugsink) -> None:
    (root,) = (each for each in bugsink.event_schema()["anyOf"] if "properties" in each)
    for name, raw in (examples("events") | examples("transactions")).items():
        envelope = DECODE_EVENTS(message(raw))
        if isinstance(envelope, Envelope):
            event = json.loads(envelope.items[0].payload)
            known = root["properties"].keys() | OF_TRANSACTIONS
            assert event.keys() - known == set(), name


def test_an_insert_full_of_nulls_is_accepted(bugsink: Bugsink) -> None:
    event_id = uuid.uuid4().hex
    frames = [None, {"function": "f", "lineno": None, "filename": None}]
    values = [
        None,
        {"type": "T", "value": None, "stacktrace": None},
        {"type": "U", "value": "v", "stacktrace": {"frames": frames}},
    ]
    data: dict[str, Any] = {
        "type": "error",
        "level": "error",
        "tags": [None, [None, "a"], ["b", None], ["c", "d"]],
        "threads": {"values": [None]},
        "breadcrumbs": {"values": [None, {"message": "before"}]},
        "exception": {"values": values},
        "user": None,
        "request": None,
        "contexts": {"replay": None},
    }
    row = {"event_id": event_id, "platform": "java", "datetime": "2023-03-07T17:24:09Z"}
    deliver(bugsink, DECODE_EVENTS, json.dumps([2, "insert", row | {"data": data}, None]).encode())
    event = bugsink.wait_for_ids([event_id])[event_id]
    assert (event.title_type, event.title_value) == ("U", "v")


def test_relays_events_are_shown_as_the_errors_that_they_are(bugsink: Bugsink) -> None:
    fields = msgpack.unpackb(examples("ingest-events")["dev-default-message.msgpack"])
    fields["event_id"] = uuid.uuid4().hex
    event_id = deliver(bugsink, DECODE_INGEST_EVENTS, msgpack.packb(fields))
    event = bugsink.wait_for_ids([event_id])[event_id]
    sent = json.loads(fields["payload"])
    assert event_id == fields["event_id"]
    assert (event.title_type, event.title_value) == (LOG_MESSAGE, sent["logentry"]["formatted"])
    assert event.data["contexts"] == sent["contexts"]


def test_relays_event_with_an_inline_attachment_is_accepted(bugsink: Bugsink) -> None:
    event_id = uuid.uuid4().hex
    payload = json.dumps(
        {"event_id": event_id, "platform": "native", "logentry": {"formatted": "x"}}
    )
    attachment = {"name": "log.txt", "attachment_type": "event.attachment", "data": b"a\nb\n\n"}
    fields = {"type": "event", "event_id": event_id, "payload": payload.encode()}
    value = msgpack.packb(fields | {"attachments": [attachment]})
    assert deliver(bugsink, DECODE_INGEST_EVENTS, value) == event_id
    assert bugsink.wait_for_ids([event_id])[event_id].title_value == "x"


def test_relays_event_with_an_attachment_in_chunks_is_shown(bugsink: Bugsink) -> None:
    event = attached_event(random.Random(uuid.uuid4().int), [250], chunk_bytes=100)
    *chunks, whole = [DECODE_INGEST_ATTACHMENTS(message(each)) for each in event.messages]
    assert isinstance(whole, Incomplete)
    (blob,) = whole.blobs
    assert len(chunks) == blob.fragments
    pieces = [each.content for each in chunks if isinstance(each, Fragment)]
    envelope = whole.completed({blob.key: b"".join(pieces)})
    assert isinstance(envelope, Envelope)
    post(bugsink, envelope)
    assert bugsink.wait_for_ids([event.event_id])[event.event_id].level == "error"


def test_raw_envelopes_are_shown_as_the_errors_that_they_are(bugsink: Bugsink) -> None:
    exception = {"values": [{"type": "ValueError", "value": "too much\nof it"}]}
    event = {"platform": "python", "level": "warning", "exception": exception}
    session = make_item("session", b'{"sid":"x","status":"ok"}')
    named = uuid.uuid4().hex
    with_id = json.dumps(event | {"event_id": named}).encode()
    without_id = json.dumps(event).encode()
    ids = set()
    for item in (make_item("event", with_id), make_item("event", without_id)):
        value = serialize(
            build(None, (session, item)), dsn="http://other@else.where/9", sent_at="x"
        )
        ids.add(deliver(bugsink, DECODE_ENVELOPES, value))
    assert named in ids
    shown = bugsink.wait_for_ids(ids)
    assert len(shown) == 2
    assert {(e.title_type, e.title_value, e.level) for e in shown.values()} == {
        ("ValueError", "too much\nof it", "warning")
    }


@pytest.mark.parametrize(
    "consumer",
    [
        "transactions",
        "ingest-transactions",
        "ingest-feedback-events",
        "ingest-replay-recordings",
        "ingest-monitors",
        "profiles",
    ],
)
def test_what_bugsink_has_no_page_for_is_a_valid_envelope_to_it(
    bugsink: Bugsink, consumer: str
) -> None:
    definition = registry.get(consumer)
    document = {"event_id": uuid.uuid4().hex, "type": "transaction", "platform": "python"}
    carried = [
        raw
        for raw in examples(consumer).values()
        if isinstance(definition.decode(now(message(raw))), Envelope)
    ]
    for value in (containing(consumer, document), *carried):
        assert len(deliver(bugsink, definition.decode, value)) in (0, 32)
