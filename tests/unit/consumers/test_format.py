"""The base classes of message formats, which a simple topic uses as they are."""

from __future__ import annotations

from typing import Any

import msgpack
import orjson
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.format import (
    JsonFormat,
    JsonObject,
    MessageFormat,
    MsgpackFormat,
    UnreadableMessage,
)
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import message


class Feedback(JsonFormat):
    item_type = "feedback"


class CheckIns(MsgpackFormat):
    item_type = "check_in"

    def to_envelope(self, fields: JsonObject, message: RawMessage) -> Envelope | Skipped:
        if fields.get("message_type") == "clock_pulse":
            return Skipped("clock_pulse")
        return super().to_envelope(fields, message)


SIMPLE: list[tuple[MessageFormat, str, Any]] = [
    (Feedback(), "feedback", orjson.dumps),
    (CheckIns(), "check_in", lambda body: msgpack.packb({"payload": orjson.dumps(body)})),
]


class Upper:
    """A visitor that marks each part that it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        return members

    def document(self, kind: str, document: Any) -> Any:
        self.seen.append(kind)
        return document | {"seen": True}

    def blob(self, kind: str, content: bytes) -> bytes:
        self.seen.append(f"blob {kind}")
        return content


@pytest.mark.parametrize(("simple", "item_type", "pack"), SIMPLE)
def test_a_simple_format_decodes_visits_and_views(
    simple: MessageFormat, item_type: str, pack: Any
) -> None:
    value = pack({"a": 1})
    envelope = simple.decode(message(value))
    assert isinstance(envelope, Envelope)
    assert envelope.event_id == message(value).derived_event_id()
    assert [item.type for item in envelope.items] == [item_type]
    assert orjson.loads(envelope.items[0].payload)["a"] == 1
    visitor = Upper()
    assert simple.event_of(simple.visit(value, visitor)) == {"a": 1, "seen": True}
    assert visitor.seen == [item_type]
    assert simple.view(value).damage is None


@pytest.mark.parametrize(("simple", "item_type", "pack"), SIMPLE)
def test_a_simple_format_gets_an_event_id_once(
    simple: MessageFormat, item_type: str, pack: Any
) -> None:
    named = simple.with_new_event_id(pack({"a": 1}))
    found = simple.decode(message(named))
    assert isinstance(found, Envelope)
    assert found.event_id != message(named).derived_event_id()
    assert simple.with_new_event_id(named) == named


@pytest.mark.parametrize("value", [b"", b"[1]", b"7", b"{", b"\xc1", b"\x91\x01"])
def test_an_unreadable_value_is_rejected_and_reported_as_unreadable(value: bytes) -> None:
    for simple, _, _ in SIMPLE:
        with pytest.raises(RejectedMessage):
            simple.decode(message(value))
        with pytest.raises(UnreadableMessage):
            simple.with_new_event_id(value)
        assert simple.event_of(value) in (None, [1], 7)


def test_a_payload_that_is_not_json_is_a_blob() -> None:
    visitor = Upper()
    CheckIns().visit(msgpack.packb({"type": "check_in", "payload": b"\xff"}), visitor)
    assert visitor.seen == ["blob check_in"]
    assert CheckIns().decode(message(msgpack.packb({"message_type": "clock_pulse"}))) == Skipped(
        "clock_pulse"
    )


def test_an_example_is_made_fresh() -> None:
    example = CheckIns().fresh_example({"payload": b'{"event_id":"x"}', "project_id": 1})
    fields = msgpack.unpackb(example)
    assert fields["event_id"] == orjson.loads(fields["payload"])["event_id"] != "x"
    assert orjson.loads(Feedback().fresh_example({"a": 1}))["a"] == 1


@pytest.mark.parametrize(
    ("known", "value", "project_id"),
    [
        ("ingest-events", msgpack.packb({"project_id": 7, "payload": b"{}"}), 7),
        ("ingest-events", msgpack.packb({"payload": b'{"project":7}'}), 7),
        ("ingest-events", msgpack.packb({"project_id": True, "payload": b"{}"}), None),
        ("events", b'[2,"insert",{"project_id":7,"data":{}},{}]', 7),
        ("events", b'[2,"insert",{"data":{"project":7}},{}]', 7),
        ("envelopes", b'{"dsn":"https://k@h/7"}\n{"type":"event"}\n{"project":8}', 7),
        ("envelopes", b'{"dsn":7}\n{"type":"event"}\n{}', None),
        ("envelopes", b"damaged", None),
        ("ingest-events", b"damaged", None),
    ],
)
def test_a_messages_project_is_known_where_it_names_one(
    known: str, value: bytes, project_id: int | None
) -> None:
    assert registry.get(known).format.project_of(message(value)) == project_id
    assert registry.get(known).format.project_of(message(None)) is None
