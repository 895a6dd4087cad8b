"""The ingest-events codec: Relay's MessagePack to envelopes."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.consumers import registry
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import examples, message, outcomes
from tests.support.mutations import damaged_bytes, damaged_values

decode = registry.get("ingest-events").decode

TOPICS = ("ingest-events", "ingest-transactions", "ingest-feedback-events")
EXAMPLES = {f"{topic}/{name}": raw for topic in TOPICS for name, raw in examples(topic).items()}
ATTACHMENTS = examples("ingest-attachments")
EVENT_ID = "2107c4e968514c8690d3a3a24570c40d"


def packed(**fields: Any) -> bytes:
    raw = msgpack.packb({"event_id": EVENT_ID, "project_id": 1, "start_time": 1} | fields)
    assert isinstance(raw, bytes)
    return raw


def decoded(raw: bytes) -> Envelope:
    envelope = decode(message(raw))
    assert isinstance(envelope, Envelope)
    return envelope


def rejection(raw: bytes | None) -> RejectedMessage:
    with pytest.raises(RejectedMessage) as caught:
        decode(message(raw))
    return caught.value


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_events_payload_keeps_its_bytes(name: str) -> None:
    fields = msgpack.unpackb(EXAMPLES[name])
    envelope = decoded(EXAMPLES[name])
    (item,) = envelope.items
    assert item.payload == fields["payload"]
    assert envelope.event_id == fields["event_id"]
    kind = json.loads(item.payload)["type"]
    assert item.type == (kind if kind in {"transaction", "feedback"} else "event")


def test_a_word_in_the_payload_does_not_make_it_a_transaction() -> None:
    payload = b'{"type":"error","tags":{"what":"transaction"},"contexts":{"feedback":{}}}'
    assert decoded(packed(type="event", payload=payload)).items[0].type == "event"


def test_inline_attachments_follow_their_event() -> None:
    screenshot = {
        "id": "1",
        "name": "screenshot.png",
        "content_type": "image/png",
        "attachment_type": "event.attachment",
        "chunks": 0,
        "data": b"\x89PNG\n\x00",
        "size": 6,
        "rate_limited": False,
    }
    empty = {"id": "2", "name": "empty.log", "attachment_type": "event.attachment", "chunks": 0}
    raw = packed(type="event", payload=b"{}", attachments=[screenshot, empty | {"size": 0}])
    event, first, second = decoded(raw).items
    assert event.type == "event"
    assert json.loads(first.header) == {
        "type": "attachment",
        "filename": "screenshot.png",
        "content_type": "image/png",
        "attachment_type": "event.attachment",
        "length": 6,
    }
    assert first.payload == b"\x89PNG\n\x00"
    assert json.loads(second.header)["filename"] == "empty.log"
    assert second.payload == b""


def test_an_attachment_by_itself_keeps_the_id_of_its_event() -> None:
    raw = packed(type="attachment", attachment={"name": "a.txt", "chunks": 0, "data": b"hello"})
    envelope = decoded(raw)
    assert envelope.event_id == EVENT_ID
    assert [(item.type, item.payload) for item in envelope.items] == [("attachment", b"hello")]


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (ATTACHMENTS["attachment.msgpack"], "in other messages (1 chunks)"),
        (ATTACHMENTS["attachment_chunk.msgpack"], "chunk 0 of attachment 'bbbb"),
        (packed(type="attachment_chunk", id="u", chunk_index=4, payload=b"x"), "chunk 4 of"),
        (packed(type="event", payload=b"{}", attachments=[{"chunks": 2, "size": 9}]), "2 chunks"),
        (packed(type="attachment", attachment={"stored_id": "k", "size": 3}), "object store"),
        (packed(type="attachment", attachment={"chunks": 0, "size": 3}), "missing"),
    ],
)
def test_an_attachment_elsewhere_is_rejected_with_its_location(raw: bytes, where: str) -> None:
    error = rejection(raw)
    assert error.reason == "attachment_chunks"
    assert where in error.detail


def test_a_user_report_takes_the_id_of_the_event_that_it_is_about() -> None:
    payload = json.dumps({"event_id": "b" * 32, "comments": "it broke"}).encode()
    raw = msgpack.packb({"type": "user_report", "project_id": 1, "payload": payload})
    assert isinstance(raw, bytes)
    envelope = decoded(raw)
    assert envelope.event_id == "b" * 32
    assert [(item.type, item.payload) for item in envelope.items] == [("user_report", payload)]


def test_a_message_without_an_id_gets_the_one_of_its_position() -> None:
    raw = packed(type="event", payload=b"{}", event_id=None)
    assert decoded(raw).event_id == message(raw).derived_event_id()


def test_a_payload_in_text_form_is_taken_as_utf8() -> None:
    assert decoded(packed(type="event", payload='{"a":"ü"}')).items[0].payload == (
        '{"a":"ü"}'.encode()
    )


NESTED = b"\x81\xa4type" + b"\x91" * 500 + b"\x90"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b"\xc1", "invalid_msgpack"),
        (b"\x01", "invalid_msgpack"),
        (b"\x80\x80", "invalid_msgpack"),
        (b"\xdd\xff\xff\xff\xff", "invalid_msgpack"),
        (b"\xc6\xff\xff\xff\xff", "invalid_msgpack"),
        (b"\x91" * 5000 + b"\x90", "invalid_msgpack"),
        (b"\x81\xa1\xff\x01", "invalid_msgpack"),
        (b"\x81\x01\x01", "invalid_msgpack"),
        (b"\x81\xa4type\xc7\x01\x05a", "invalid_msgpack"),
        (NESTED, "unknown_type"),
        (packed(type="session", payload=b"{}"), "unknown_type"),
        (packed(payload=b"{}"), "unknown_type"),
        (packed(type="event"), "invalid_message"),
        (packed(type="event", payload=1), "invalid_message"),
        (packed(type="event", payload=b"{}", attachments={"a": 1}), "invalid_message"),
        (packed(type="event", payload=b"{}", attachments=[None]), "invalid_message"),
        (packed(type="attachment"), "invalid_message"),
        (packed(type="user_report", payload=b"{"), "invalid_json"),
    ],
)
def test_what_relay_does_not_write_is_rejected_with_its_reason(
    raw: bytes | None, reason: str
) -> None:
    error = rejection(raw)
    assert error.reason == reason
    assert 0 < len(error.detail) < 400


@pytest.mark.parametrize("name", [*EXAMPLES, *ATTACHMENTS])
def test_damaged_input_is_rejected_and_never_raises_anything_else(name: str) -> None:
    good = (EXAMPLES | ATTACHMENTS)[name]
    damaged = [*damaged_bytes(good[:3000], seed=3, count=300)]
    damaged += [*damaged_bytes(good, seed=4, count=30)]
    damaged += [msgpack.packb(v) for v in damaged_values(msgpack.unpackb(good), 5, count=500)]
    counts = outcomes(decode, damaged)
    assert counts.total() == len(damaged)
    assert counts["invalid_msgpack"] > 50
    assert counts["attachment_chunks" if name in ATTACHMENTS else "delivered"] > 50
