"""Relay's replay recordings to the envelopes that an upstream takes, field by field."""

from __future__ import annotations

import json
import zlib
from typing import Any

import msgpack
import pytest

from consumer_fleet.capture.envelope import Envelope, serialize
from consumer_fleet.consumers import registry
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import examples, message

decode = registry.get("ingest-replay-recordings").decode

REPLAY_ID = "9a3a4e2d78e54d328e7e40709ede27ef"
RECORDING = b'{"segment_id":0}\n' + zlib.compress(b'[{"type":4,"timestamp":1,"data":{}}]')
EVENT = b'{"type":"replay_event","replay_id":"9a3a4e2d78e54d328e7e40709ede27ef","segment_id":0}'
VIDEO = b"\x00\x00\x00\x18ftypmp42\n\n"


def written_by_relay(**members: Any) -> bytes:
    """The bytes of ``ReplayRecordingNotChunkedKafkaMessage`` in Relay's store.rs."""
    fields = {
        "type": "replay_recording_not_chunked",
        "replay_id": REPLAY_ID,
        "key_id": None,
        "org_id": 1,
        "project_id": 42,
        "received": 1_700_000_000,
        "retention_days": 90,
        "payload": RECORDING,
        "replay_event": EVENT,
        "replay_video": None,
    }
    return bytes(msgpack.packb(fields | members))


def decoded(raw: bytes) -> Envelope:
    envelope = decode(message(raw))
    assert isinstance(envelope, Envelope)
    return envelope


def test_an_event_and_its_recording_are_two_items_and_keep_their_bytes() -> None:
    sent = serialize(
        decoded(written_by_relay()), dsn="http://k@h/1", sent_at="2026-01-01T00:00:00Z"
    )
    header, rest = sent.split(b"\n", 1)
    assert json.loads(header) == {
        "dsn": "http://k@h/1",
        "sent_at": "2026-01-01T00:00:00Z",
        "event_id": REPLAY_ID,
    }
    assert rest == b"".join(
        (
            b'{"type":"replay_event","length":%d}\n' % len(EVENT),
            EVENT + b"\n",
            b'{"type":"replay_recording","length":%d}\n' % len(RECORDING),
            RECORDING + b"\n",
        )
    )


def test_with_a_video_all_three_are_one_item_that_stands_alone() -> None:
    envelope = decoded(written_by_relay(replay_video=VIDEO))
    assert envelope.event_id == REPLAY_ID
    (item,) = envelope.items
    assert json.loads(item.header) == {"type": "replay_video", "length": len(item.payload)}
    assert msgpack.unpackb(item.payload) == {
        "replay_event": EVENT,
        "replay_recording": RECORDING,
        "replay_video": VIDEO,
    }


@pytest.mark.parametrize("event", [None, b""])
def test_a_recording_of_an_older_relay_has_no_event(event: bytes | None) -> None:
    envelope = decoded(written_by_relay(replay_event=event, replay_video=event))
    assert [(item.type, item.payload) for item in envelope.items] == [
        ("replay_recording", RECORDING)
    ]


def test_the_schemas_example_is_a_recording_alone() -> None:
    envelope = decoded(examples("ingest-replay-recordings")["recording.msgpack"])
    assert envelope.header == b'{"event_id":"9a3a4e2d78e54d328e7e40709ede27ef"}'
    assert envelope.items == (
        (b'{"type":"replay_recording","length":5}', "replay_recording", b"hello"),
    )


def test_a_replay_id_with_hyphens_is_the_same_id() -> None:
    dashed = "9A3A4E2D-78E5-4D32-8E7E-40709EDE27EF"
    assert decoded(written_by_relay(replay_id=dashed)).event_id == REPLAY_ID


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"\xc1", "invalid_msgpack"),
        (written_by_relay(type="replay_recording"), "unknown_type"),
        (written_by_relay(type=None), "unknown_type"),
        (written_by_relay(replay_id="no id"), "invalid_message"),
        (written_by_relay(replay_id=None), "invalid_message"),
        (written_by_relay(payload=None), "invalid_message"),
        (written_by_relay(replay_event=7), "invalid_message"),
        (written_by_relay(replay_video=[1]), "invalid_message"),
    ],
)
def test_what_relay_does_not_write_is_rejected_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(RejectedMessage) as caught:
        decode(message(raw))
    assert caught.value.reason == reason


def test_the_event_the_recording_and_the_video_can_be_rewritten() -> None:
    class Visitor:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def frame(self, members: dict[str, Any]) -> dict[str, Any]:
            return members

        def document(self, kind: str, document: Any) -> Any:
            self.seen.append(kind)
            return document | {"seen": True}

        def blob(self, kind: str, content: bytes) -> bytes:
            self.seen.append(kind)
            return b"x" + content

    visitor = Visitor()
    form = registry.get("ingest-replay-recordings").format
    fields = msgpack.unpackb(form.visit(written_by_relay(replay_video=VIDEO), visitor))
    assert visitor.seen == ["replay_recording", "replay_event", "replay_video"]
    assert json.loads(fields["replay_event"]) == json.loads(EVENT) | {"seen": True}
    assert (fields["payload"], fields["replay_video"]) == (b"x" + RECORDING, b"x" + VIDEO)
    assert form.event_of(written_by_relay()) == json.loads(EVENT)
    assert form.visit(written_by_relay(replay_event=None), visitor) is not None
