"""The usual message is decoded without a general parser, and to the same envelope as with it."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import orjson

from consumer_fleet.codec import Decode, Decoded, RawMessage
from consumer_fleet.consumers import ingest_events
from consumer_fleet.consumers.format import MsgpackFormat
from consumer_fleet.consumers.ingest_events import IngestEvents
from consumer_fleet.errors import RejectedMessage

INPUTS = 20_000
EVENT_ID = "2b61f9e503b84087aa65d8d9852e0727"
FORMAT = IngestEvents()
_ODD_VALUES: tuple[object, ...] = (
    None,
    "",
    "event",
    "ünïcode",
    "\0",
    EVENT_ID.upper(),
    f"{EVENT_ID[:8]}-{EVENT_ID[8:]}",
    b"",
    b"\xff",
    0,
    -1,
    2**64 - 1,
    1.5,
    float("inf"),
    True,
    [],
    [None],
    [{"name": "a.txt", "data": b"1"}],
    {"a": 1},
    msgpack.Timestamp(1),
)


def payload(source: random.Random) -> bytes:
    event: dict[str, Any] = {
        "event_id": source.choice([EVENT_ID, EVENT_ID, EVENT_ID.upper(), "x", None]),
        "level": source.choice(["error", "info", "Level", 5]),
        "version": source.choice(["7", "5", 'a"b', None]),
        "type": source.choice(["default", "error", "csp", "transaction", "feedback", 1]),
        "contexts": {"trace": {"type": source.choice(["trace", "transaction", "feedback"])}},
    }
    if source.random() < 0.6:
        event |= {"event_id": EVENT_ID, "level": "error", "version": "7"}
    for name in list(event):
        if source.random() < 0.03:
            del event[name]
    if source.random() < 0.1:
        event = dict(sorted(event.items(), key=lambda _: source.random()))
    return orjson.dumps(event) if source.random() < 0.95 else source.randbytes(20)


def message(source: random.Random) -> bytes:
    fields: dict[Any, Any] = {
        "type": source.choice(["event"] * 9 + ["attachment", "user_report", "other"]),
        "payload": payload(source),
        "start_time": 1_709_691_573,
        "event_id": EVENT_ID,
        "project_id": 1,
        "remote_addr": source.choice(["127.0.0.1", None]),
        "attachments": [],
    }
    for _ in range(source.choice([0, 0, 0, 1, 1, 2])):
        name = source.choice(list(fields) or ["type"])
        match source.randrange(5):
            case 0:
                fields.pop(name, None)
            case 1:
                fields[source.choice(["more", "", 7, b"type"])] = source.choice(_ODD_VALUES)
            case 2 if name == "payload" and isinstance(fields[name], bytes):
                fields[name] = fields[name].decode("utf-8", "replace")
            case _:
                fields[name] = source.choice(_ODD_VALUES)
    value = bytes(msgpack.packb(fields))
    match source.randrange(20):
        case 0:
            value = value[: source.randrange(len(value) + 1)]
        case 1:
            value += source.randbytes(source.randrange(1, 4))
        case 2:
            # In the members around the payload.
            flipped = bytearray(value)
            position = source.choice([source.randrange(20), -source.randrange(1, 60)])
            flipped[position % len(flipped)] ^= 1 << source.randrange(8)
            value = bytes(flipped)
    return value


def outcome(decode: Decode, value: bytes) -> object:
    try:
        return decode(RawMessage("ingest-events", 0, 7, 1, value))
    except RejectedMessage as rejection:
        return rejection.reason, rejection.detail


def general(message: RawMessage) -> Decoded:
    return MsgpackFormat.decode(FORMAT, message)


def test_both_ways_lead_to_the_same_envelope_or_rejection() -> None:
    source = random.Random(20)
    fast = 0
    for _ in range(INPUTS):
        value = message(source)
        fast += ingest_events._decode_fast(value) is not None if value else False
        assert outcome(FORMAT.decode, value) == outcome(general, value), value
    assert INPUTS * 0.05 < fast < INPUTS * 0.9


def test_relays_own_message_takes_the_fast_way() -> None:
    event = b'{"event_id":"%b","level":"info","version":"7","type":"default","logger":""}'
    fields = {
        "type": "event",
        "payload": event % EVENT_ID.encode(),
        "start_time": 1,
        "event_id": EVENT_ID,
        "project_id": 1,
        "remote_addr": "127.0.0.1",
        "attachments": [],
    }
    assert ingest_events._decode_fast(bytes(msgpack.packb(fields))) is not None
