"""The ingest-attachments codec: each shape of Relay's messages, and what an endpoint takes.

The expected envelopes are written after the envelope documentation, field by field.
"""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Blob, Fragment, Incomplete, Skipped
from consumer_fleet.consumers.ingest_attachments import IngestAttachments
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import examples, message, outcomes
from tests.support.mutations import damaged_bytes, damaged_values

FORMAT = IngestAttachments()
EVENT_ID = "2107c4e968514c8690d3a3a24570c40d"
EVENT = b'{"event_id":"2107c4e968514c8690d3a3a24570c40d","type":"error","level":"error"}'
LOG_ID = "5b8f2a1e-0b64-4c3e-9f0e-3a3b1c1d2e4f"
# As Relay writes it: without members that have no value, and with its marker of rate limits.
LOG = {
    "id": LOG_ID,
    "name": "checkout.log",
    "rate_limited": False,
    "content_type": "text/plain",
    "attachment_type": "event.attachment",
    "size": 11,
}


def packed(**fields: Any) -> bytes:
    return bytes(msgpack.packb({"event_id": EVENT_ID, "project_id": 42} | fields))


def chunk(number: object, payload: object, **fields: Any) -> bytes:
    return packed(type="attachment_chunk", id=LOG_ID, chunk_index=number, payload=payload, **fields)


def event(*attachments: object, **fields: Any) -> bytes:
    members = {"payload": EVENT, "start_time": 1, "remote_addr": None, "attachments": attachments}
    return packed(type="event", **(members | fields))


def decoded(raw: bytes) -> Any:
    return FORMAT.decode(message(raw))


def headers(envelope: Envelope) -> list[dict[str, Any]]:
    return [json.loads(item.header) for item in envelope.items]


def blob(raw: bytes) -> bytes:
    fragment = decoded(raw)
    assert isinstance(fragment, Fragment)
    return fragment.blob


# -- what Relay writes -----------------------------------------------------------------------------


def test_an_event_with_chunks_is_an_event_and_an_attachment_once_they_are_there() -> None:
    first, second = decoded(chunk(0, b"hello ")), decoded(chunk(1, b"world"))
    assert (first.number, first.content) == (0, b"hello ")
    assert (second.number, second.content) == (1, b"world")
    whole = decoded(event(LOG | {"chunks": 2}))
    assert isinstance(whole, Incomplete)
    assert whole.blobs == (Blob(first.blob, 2, 1),)
    assert second.blob == first.blob

    envelope = whole.completed({first.blob: first.content + second.content})
    assert isinstance(envelope, Envelope)
    assert json.loads(envelope.header) == {"event_id": EVENT_ID}
    assert headers(envelope) == [
        {"type": "event", "length": len(EVENT)},
        {
            "type": "attachment",
            "filename": "checkout.log",
            "content_type": "text/plain",
            "attachment_type": "event.attachment",
            "length": 11,
        },
    ]
    assert [item.payload for item in envelope.items] == [EVENT, b"hello world"]


def test_an_event_goes_without_an_attachment_whose_chunks_are_missing() -> None:
    whole = decoded(event(LOG | {"chunks": 2}, LOG | {"id": "other", "chunks": 0, "size": 0}))
    envelope = whole.completed({})
    assert [each["type"] for each in headers(envelope)] == ["event", "attachment"]
    assert envelope.items[1].payload == b""


def test_an_attachment_by_itself_is_an_envelope_with_its_events_id() -> None:
    envelope = decoded(packed(type="attachment", attachment=LOG | {"data": b"hello world"}))
    assert json.loads(envelope.header) == {"event_id": EVENT_ID}
    (header,) = headers(envelope)
    assert (header["type"], header["filename"], header["length"]) == (
        "attachment",
        "checkout.log",
        11,
    )
    assert envelope.items[0].payload == b"hello world"


def test_an_attachment_by_itself_without_its_chunks_is_left_out() -> None:
    whole = decoded(packed(type="attachment", attachment=LOG | {"chunks": 3}))
    assert whole.blobs == (Blob(blob(chunk(0, b"")), 3, 0),)
    assert whole.completed({}) == Skipped("missing_chunks")


def test_an_empty_attachment_needs_no_chunk() -> None:
    envelope = decoded(event(LOG | {"chunks": 0, "size": 0}))
    assert isinstance(envelope, Envelope)
    assert [item.payload for item in envelope.items] == [EVENT, b""]


def test_an_event_goes_without_what_an_object_store_holds() -> None:
    whole = decoded(event(LOG | {"stored_id": "a/b"}, LOG | {"id": "x", "data": b"y"}))
    assert (whole.blobs, whole.left_out) == ((), ("object_store",))
    assert [item.payload for item in whole.completed({}).items] == [EVENT, b"y"]
    alone = packed(type="attachment", attachment=LOG | {"stored_id": "a/b"})
    assert decoded(alone) == Skipped("object_store")


@pytest.mark.parametrize(
    "kind", ["event.minidump", "event.applecrashreport", "event.breadcrumbs", "event.payload"]
)
def test_an_attachment_that_makes_an_event_goes_only_beside_its_event(kind: str) -> None:
    attachment = LOG | {"attachment_type": kind, "data": b"MDMP"}
    assert decoded(packed(type="attachment", attachment=attachment)) == Skipped("needs_event")
    envelope = decoded(event(attachment))
    assert headers(envelope)[1]["attachment_type"] == kind


def test_a_user_report_keeps_its_bytes() -> None:
    payload = json.dumps({"event_id": EVENT_ID, "name": "Jane", "comments": "broken"}).encode()
    envelope = decoded(packed(type="user_report", start_time=1, payload=payload))
    assert json.loads(envelope.header) == {"event_id": EVENT_ID}
    assert headers(envelope) == [{"type": "user_report", "length": len(payload)}]
    assert envelope.items[0].payload == payload


def test_the_schemas_examples_belong_together() -> None:
    found = examples("ingest-attachments")
    whole = decoded(found["attachment.msgpack"])
    fragment = decoded(found["attachment_chunk.msgpack"])
    assert [each.key for each in whole.blobs] == [fragment.blob]


def test_a_blob_is_known_by_its_project_event_and_attachment() -> None:
    first = chunk(0, b"x")
    others = [
        chunk(0, b"x", project_id=43),
        chunk(0, b"x", event_id="0" * 32),
        packed(type="attachment_chunk", id="other", chunk_index=0, payload=b"x"),
    ]
    assert len({blob(raw) for raw in (first, *others)}) == 4
    dashed = "2107C4E9-6851-4C86-90D3-A3A24570C40D"
    assert blob(chunk(0, b"x", event_id=dashed)) == blob(first)


# -- what it does not write ------------------------------------------------------------------------


def test_inline_bytes_count_where_chunks_are_announced_as_well() -> None:
    envelope = decoded(event(LOG | {"chunks": 2, "data": b"hello world"}))
    assert isinstance(envelope, Envelope)
    assert envelope.items[1].payload == b"hello world"


@pytest.mark.parametrize(
    "attachment",
    [
        {"chunks": 0, "size": 9},
        {"chunks": 2, "id": None},
        {"chunks": 2, "id": ""},
        {"chunks": 2, "id": "x" * 201},
        {"chunks": 2, "id": ["x"]},
    ],
)
def test_an_event_goes_without_an_attachment_that_names_no_chunks(
    attachment: dict[str, Any],
) -> None:
    whole = decoded(event(LOG | attachment))
    assert (whole.blobs, whole.left_out) == ((), ("missing_chunks",))
    assert [item.type for item in whole.completed({}).items] == ["event"]


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (chunk(-1, b"x"), "chunk_index is -1"),
        (chunk(None, b"x"), "chunk_index is None"),
        (chunk(1.0, b"x"), "chunk_index is 1.0"),
        (chunk(True, b"x"), "chunk_index is True"),
        (chunk("0", b"x"), "chunk_index is '0'"),
        (chunk(0, None), "payload is not bytes"),
        (chunk(0, b"x", event_id="no"), "does not name its attachment"),
        (chunk(0, b"x", event_id=None), "does not name its attachment"),
        (packed(type="attachment_chunk", chunk_index=0, payload=b""), "does not name"),
        (event(LOG | {"chunks": -1}), "the number of chunks is -1"),
        (event(LOG | {"chunks": 1.5}), "the number of chunks is 1.5"),
        (event(LOG | {"chunks": [1]}), "the number of chunks is of type list"),
        (event(LOG | {"data": 7}), "data is not bytes"),
        (event("text"), "attachment 0 is not a map"),
        (event(attachments={"a": 1}), "attachments is not a list"),
        (event(payload=None), "payload is not bytes"),
        (packed(type="attachment"), "attachment 0 is not a map"),
    ],
)
def test_an_invalid_member_is_named_in_the_rejection(raw: bytes, detail: str) -> None:
    with pytest.raises(RejectedMessage) as caught:
        decoded(raw)
    assert caught.value.reason == "invalid_message"
    assert detail in caught.value.detail


def test_an_odd_type_of_attachment_is_no_exception() -> None:
    odd: object
    for odd in ([], {}, 7, None):
        envelope = decoded(packed(type="attachment", attachment=LOG | {"attachment_type": odd}))
        assert isinstance(envelope, Incomplete | Envelope | Skipped)


SHAPES = {
    "chunk": chunk(3, b"\x00\xff" * 40),
    "chunks": event(LOG | {"chunks": 2}, LOG | {"id": "second", "chunks": 1}),
    "inline": event(LOG | {"data": b"hello world"}),
    "stored": event(LOG | {"stored_id": "a/b"}),
    "alone": packed(type="attachment", attachment=LOG | {"chunks": 200}),
    "report": packed(type="user_report", payload=b'{"event_id":"%b"}' % EVENT_ID.encode()),
}


@pytest.mark.parametrize("name", SHAPES)
def test_damaged_messages_are_delivered_skipped_or_rejected(name: str) -> None:
    counts = outcomes(FORMAT.decode, damaged_bytes(SHAPES[name], seed=1, count=1500))
    values = damaged_values(msgpack.unpackb(SHAPES[name]), seed=2, count=1000)
    counts += outcomes(FORMAT.decode, (bytes(msgpack.packb(value)) for value in values))
    assert counts.total() >= 2500
    assert counts["invalid_msgpack"] > 100
    assert counts["delivered"] + counts["fragment"] + counts["incomplete"] > 50
    assert "codec_error" not in counts


def test_an_enormous_count_of_chunks_takes_no_memory() -> None:
    whole = decoded(event(LOG | {"chunks": 2**63}))
    assert whole.blobs[0].fragments == 2**63
    fragment = decoded(chunk(2**64 - 1, b"x"))
    assert fragment.number == 2**64 - 1
