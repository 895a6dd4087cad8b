"""``dlq show``: the position of damage, the content, no secrets, no terminal controls."""

from __future__ import annotations

import base64
import json
import os
import random
from pathlib import Path

import msgpack
import orjson
import pytest

from consumer_fleet.codec import RawMessage
from consumer_fleet.dead_letter_headers import Facts, restore, with_facts
from consumer_fleet.dlq.letters import DeadLetterCounts, Letter
from consumer_fleet.dlq.show import as_document, as_lines, find_in_file, view_of
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.printable import hex_dump, printable, printable_bytes, shortened
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter
from tests.support.dead_letter_scene import ingest_event

FACTS = Facts(
    "invalid_msgpack", "extra \x1b[31mdata", "ingest-events", 3, 41, 1_700_000_000_123, "my-group"
)
EVIL = FACTS._replace(reason="\x1b[2J")
EVENT_ID = "0123456789abcdef0123456789abcdef"
SECRET = "s3cr3t-value"


def letter(value: bytes | None, headers: object = (("h", b"\x1b]0;x\x07"), ("n", None))) -> Letter:
    full = tuple(with_facts(headers, FACTS))  # type: ignore[arg-type]  # any pairs
    record = Record(7, 1_800_000_000_000, b"\xff\x00", value, full)
    return Letter(0, record, restore(full))


def lines(value: bytes | None, consumer: str | None = "ingest-events") -> str:
    return "\n".join(as_lines(letter(value), "ingest-events-dlq", consumer))


# -- fit for a terminal


def test_nothing_in_a_message_reaches_the_terminal_as_a_control_character() -> None:
    evil = b"\x1b[2J\x9b\x07\r\n\xc2\x9b\xe2\x80\xae\xff" * 3
    for value in (evil, orjson.dumps({"a": evil.decode(errors="replace")}), msgpack.packb([evil])):
        for consumer in ("ingest-events", "events", "envelopes", None):
            shown = lines(value, consumer)
            assert all(each.isprintable() for each in shown.splitlines()), shown
            assert all(len(each.splitlines()) == 1 for each in shown.split("\n") if each)


def test_what_a_file_says_of_itself_reaches_no_terminal_as_a_control_character(
    tmp_path: Path,
) -> None:
    made = RecordingHeader("a\x1b[2J", 1, 0, {0: (7, 8)}, consumer="\x1b[31mme")
    with RecordingWriter(tmp_path / "r", made) as writer:
        writer.write([(0, letter(b"{}").record)])
        writer.complete()
    found = find_in_file(tmp_path / "r", "7")
    shown = list(as_lines(*found))
    assert all(line.isprintable() for line in shown), shown
    # Nor is it asked for its codec: there is no such consumer.
    assert shown[-1].startswith("Now       unknown: message format unknown")
    evil = letter(b"", ()).record._replace(headers=tuple(with_facts((), EVIL)))
    assert str(DeadLetterCounts([Letter(0, evil, restore(evil.headers))])) == "\\x1b[2J 1"


def test_what_is_escaped_can_be_told_apart() -> None:
    assert printable("a\x1b\u202e\U000e0001é") == "a\\x1b\\u202e\\U000e0001é"
    assert printable_bytes(b"a\xff\n") == "a\\xff\\x0a"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_a_hex_dump_fits_80_columns_and_names_each_position() -> None:
    data = bytes(range(40))
    dumped = hex_dump(data, 17, 40)
    assert [each[:8] for each in dumped] == ["00000010", "00000020"]
    assert dumped[1].endswith("|" + " !\"#$%&'" + "|")
    assert max(map(len, hex_dump(os.urandom(64), 0, 64))) <= 78


# -- where it is damaged


@pytest.mark.parametrize(
    ("consumer", "value", "position", "what"),
    [
        ("events", b'{"a": 1,\n oops}', 10, "not JSON from byte 10"),
        ("events", '{"ü": nope}'.encode(), 7, "not JSON from byte 7"),
        ("events", b'{"a": "\xff"}', 7, "byte 7 is not UTF-8"),
        ("events", b"[" * 5000, None, "not JSON"),
        ("ingest-events", msgpack.packb({"a": 1, "b": [1, 2]})[:-1], None, "it ends too early"),
        ("ingest-events", msgpack.packb({"a": 1}) + b"xy", 4, "2 bytes follow"),
        ("ingest-events", b"\xc1", 0, "not MessagePack from byte"),
        ("envelopes", b'{}\n{"type":"event","length":99}\n{}', None, "item 0"),
        ("envelopes", b"{oops", 1, "header"),
        (None, b"{oops", 1, "not JSON from byte 1"),
        (None, b"\x82", None, "it ends too early"),
    ],
)
def test_damage_is_named_with_its_position(
    consumer: str | None, value: bytes, position: int | None, what: str
) -> None:
    decoded = view_of(value, consumer)
    assert decoded.damage is not None
    assert what in decoded.damage
    if position is not None:
        assert decoded.position == position


def test_the_part_before_the_damage_is_shown() -> None:
    whole = msgpack.packb({"type": "event", "project_id": 3, "payload": b"x" * 100})
    decoded = view_of(whole[:-10], "ingest-events")
    assert decoded.redacted() == {"type": "event", "project_id": 3}
    envelope = view_of(b'{"event_id":"1"}\n{"type":"event","length":99}\n{}', "envelopes")
    assert envelope.content == {"header": {"event_id": "1"}}


def test_numbers_that_json_does_not_have_are_shown_as_text() -> None:
    value = msgpack.packb({"a": float("nan"), "b": [float("-inf"), 1.5]})
    assert view_of(value, "ingest-events").redacted() == {"a": "nan", "b": ["-inf", 1.5]}


def test_damage_far_behind_is_dumped_too() -> None:
    value = b'{"a":"' + b"x" * 5000 + b'" oops}'
    shown = lines(value, "events")
    assert "00001380" in shown
    assert "oops" in shown


def test_no_bytes_stop_the_view() -> None:
    source = random.Random(7)
    seeds = [ingest_event(EVENT_ID), b'{"a":[1,{"b":null}]}', b'{}\n{"type":"event"}\n{}', b""]
    for _ in range(2000):
        damaged = bytearray(source.choice(seeds))
        for _ in range(source.randrange(4)):
            if damaged:
                damaged[source.randrange(len(damaged))] = source.randrange(256)
        for consumer in ("ingest-events", "events", "envelopes", None):
            json.dumps(view_of(bytes(damaged), consumer).redacted(), allow_nan=False)
    for value in (None, b"", b"\xdf\xff\xff\xff\xff", b"\x91" * 2000, b"\xc7\x01\x05a"):
        for consumer in ("ingest-events", None):
            json.dumps(view_of(value, consumer).redacted())


# -- no secret


def test_secrets_are_hidden_in_the_decoded_view() -> None:
    event = orjson.dumps(
        {
            "request": {
                "headers": [["Authorization", SECRET], ["X-Sentry-Auth", SECRET], ["Accept", "a"]],
                "cookies": {"session": SECRET},
                "data": {"password": SECRET, "note": "kept"},
                "url": f"https://user:{SECRET}@host/",
            }
        }
    )
    header = orjson.dumps(
        {"dsn": f"https://{SECRET}@h/1", "trace": {"public_key": SECRET, "environment": "kept"}}
    )
    envelope = header + b'\n{"type":"event"}\n' + event
    for value, consumer in (
        (event, "events"),
        (ingest_event(None, payload=event), "ingest-events"),
        (envelope, "envelopes"),
    ):
        shown = json.dumps(view_of(value, consumer).redacted())
        assert SECRET not in shown, consumer
        assert "kept" in shown
        assert "[redacted]" in shown


@pytest.mark.parametrize("name", ["x-token", "Authorization", "X-Auth", "cookie", "x-session-id"])
def test_headers_of_such_names_are_hidden_too(name: str) -> None:
    own = ((name, SECRET.encode()), ("link", f"https://u:{SECRET}@h/".encode()), ("kept", b"kept"))
    shown = "\n".join(as_lines(letter(b"{}", own), "d", "events"))
    assert SECRET not in shown
    assert f"  {name}: [redacted]" in shown
    assert "  link: https://[redacted]@h/" in shown
    assert "  kept: kept" in shown


# -- the whole view


def test_it_says_why_from_where_and_what_the_codec_says_now() -> None:
    shown = lines(ingest_event(EVENT_ID))
    for part in (
        "ingest-events-dlq partition 0 offset 7, 2027-01-15 08:00:00",
        "Reason    invalid_msgpack",
        "Detail    extra \\x1b[31mdata",
        "Origin    ingest-events/3@41, 2023-11-14 22:13:20",
        "Rejected  by group my-group",
        "  h: \\x1b]0;x\\x07",
        "  n: none",
        "Key       \\xff\\x00",
        '"type": "event"',
        f"Now       ingest-events decodes it now: event id {EVENT_ID}, items: event",
    ):
        assert part in shown
    assert "dlq." not in shown


def test_the_codec_is_asked_with_the_first_place_of_the_message() -> None:
    derived = RawMessage("ingest-events", 3, 41, None, None).derived_event_id()
    assert f"event id {derived}" in lines(ingest_event(None))


@pytest.mark.parametrize(
    ("value", "consumer", "expected"),
    [
        (b"x", "ingest-events", "Now       ingest-events still rejects it: invalid_msgpack"),
        (b'[2,"end_merge",{}]', "events", "Now       events filters it now: end_merge"),
        (None, "ingest-events", "Value     none: a tombstone"),
        (b"", "ingest-events", "Value     0 bytes"),
        (b"x", None, "Now       unknown: message format unknown"),
    ],
)
def test_the_verdict_of_odd_values(
    value: bytes | None, consumer: str | None, expected: str
) -> None:
    assert expected in lines(value, consumer)


def test_the_document_has_every_byte() -> None:
    value = b"\xff" + ingest_event(EVENT_ID)
    document = json.loads(json.dumps(as_document(letter(value), "d", "ingest-events")))
    assert base64.b64decode(document["value"]["base64"]) == value
    assert document["key"] == {"base64": "/wA="}
    assert document["headers"] == [["h", "\x1b]0;x\x07"], ["n", None]]
    assert document["dead_letter"] == document["origin"]
    assert document["origin"]["offset"] == 41
    assert document["now"]["outcome"] == "rejected"
    assert document["decoded"]["position"] is not None


def test_a_message_that_is_no_dead_letter_is_shown_as_such() -> None:
    stranger = Letter(0, Record(7, None, None, b"{}", (("a", b"1"),)), None)
    shown = "\n".join(as_lines(stranger, "d", None))
    assert "it has no dlq.* headers" in shown
    assert "  a: 1" in shown
    assert as_document(stranger, "d", None)["dead_letter"] is None
