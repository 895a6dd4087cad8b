"""Envelope frames: payloads and unknown attributes pass byte for byte."""

from __future__ import annotations

import json
import random

import orjson
import pytest

from consumer_fleet.capture.envelope import (
    Envelope,
    Item,
    build,
    make_item,
    normalize_event_id,
    parse,
    serialize,
    with_event_id,
    with_origin,
)
from consumer_fleet.errors import RejectedMessage

ID = "9ec79c33ec9942ab8353589fcb2e04dc"
SENT = {"dsn": "https://k@h/1", "sent_at": "2025-01-02T03:04:05Z"}
PREFIX = b'{"dsn":"https://k@h/1","sent_at":"2025-01-02T03:04:05Z"'


def header_after(header: bytes) -> bytes:
    """The rest of a header line."""
    return parse(header + b"\n").header


def test_items_are_split_by_length_and_by_line() -> None:
    raw = (
        b'{"event_id":"%s"}\n'
        b'{"type":"attachment","length":7,"filename":"a"}\nab\n\ncd\n\n'
        b'{"type":"session"}\n{"a":1}\n'
        b'{"type":"unheard_of"}\n'
    ) % ID.encode()
    assert parse(raw) == Envelope(
        b'{"event_id":"%s"}' % ID.encode(),
        ID,
        (
            Item(b'{"type":"attachment","length":7,"filename":"a"}', "attachment", b"ab\n\ncd\n"),
            Item(b'{"type":"session"}', "session", b'{"a":1}'),
            Item(b'{"type":"unheard_of"}', "unheard_of", b""),
        ),
        final_newline=False,  # the last line, with the payload, is missing
    )


@pytest.mark.parametrize(
    "raw",
    [
        b'{}\n{"type":"a","length":2}\nxy',
        b'{}\n{"type":"a","length":2}\nxy\n',
        b'{}\n{"type":"a","length":2}\nxy\n\n\n',
        b'{}\n\n{"type":"a"}\nxy\n',
        b'{}\n{"type":"a","length":null}\nxy',
    ],
)
def test_newlines_around_items_are_ignored(raw: bytes) -> None:
    assert [item.payload for item in parse(raw).items] == [b"xy"]


@pytest.mark.parametrize("raw", [b"{}", b"{}\n", b"{}\n\n\n"])
def test_an_envelope_may_have_neither_members_nor_items(raw: bytes) -> None:
    envelope = parse(raw)
    assert envelope == Envelope(b"{}", None, (), raw.endswith(b"\n"))
    assert serialize(envelope, **SENT).rstrip() == PREFIX + b"}"


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        (b"", "the envelope's header is not JSON"),
        (b"[]\n", "the envelope's header is not a JSON object"),
        (b'{"a":\n', "the envelope's header is not JSON"),
        (b'{}\n{"length":1}\nx', "the header of item 0 has no type"),
        (b'{}\n{"type":1}\nx', "the header of item 0 has no type"),
        (b'{}\n{"type":"a"}\nx\n"b"\nx', "the header of item 1 is not a JSON object"),
        (b'{}\n{"type":"a","length":3}\nxy', "item 0 announces 3 bytes, but only 2 follow"),
        (b'{}\n{"type":"a","length":1}', "item 0 announces 1 bytes, but only 0 follow"),
        (b'{}\n{"type":"a","length":1}\nxy', "no newline follows the 1 bytes of item 0"),
        (b'{}\n{"type":"a","length":-1}\n', "the length of item 0 is -1"),
        (b'{}\n{"type":"a","length":true}\nx', "the length of item 0 is True"),
        (b'{}\n{"type":"a","length":1.0}\nx', "the length of item 0 is 1.0"),
    ],
)
def test_a_broken_frame_is_rejected_with_its_place(raw: bytes, detail: str) -> None:
    with pytest.raises(RejectedMessage) as caught:
        parse(raw)
    assert caught.value.reason == "invalid_envelope"
    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (b'{"dsn":"d"}', b"{}"),
        (b'{"dsn":"d","sent_at":"s"}', b"{}"),
        (b' {"a":1,"dsn":"d"} ', b'{"a":1}'),
        (b'{"dsn":"d","a":1}', b'{"a":1}'),
        (b'{"sent_at":"s","a":1,"dsn":"d","b":2}', b'{"a":1,"b":2}'),
        (
            b'{"a":1.50,"n":123456789012345678901234567890,"dsn":"d"}',
            b'{"a":1.50,"n":123456789012345678901234567890}',
        ),
        (b'{"z":1,"a":2,"z":3,"sent_at":"s"}', b'{"z":1,"a":2,"z":3}'),
        (b'{"dsn":"1","a":1,"dsn":"2"}', b'{"a":1}'),
        (b'{"dsn":null,"a":1}', b'{"a":1}'),
        (b'{ "dsn":"d" }', b"{}"),
        (b'{"a":1 , "dsn":"d"}', b'{"a":1 }'),
        (b'{"a":1, "dsn":"d", "b":2}', b'{"a":1,  "b":2}'),
        (b'{"dsn":"d" ,"a":1}', b'{"a":1}'),
        (b'{"a":1,"dsn":"d" , "b":2}', b'{"a":1 , "b":2}'),
        (b'{"dsn":{"x":["}",{"dsn":1}]},"a":1}', b'{"a":1}'),
        (b'{"d\\u0073n":"d","a":1}', b'{"a":1}'),
        (b'{"dsn":"quoted \\" brace }","a":1}', b'{"a":1}'),
        (
            b'{"trace":{"dsn":"kept","sent_at":"kept"}}',
            b'{"trace":{"dsn":"kept","sent_at":"kept"}}',
        ),
        (b'{"trace":{"dsn":"kept"},"dsn":"d"}', b'{"trace":{"dsn":"kept"}}'),
        (b'{"a":"dsn","dsn":"d"}', b'{"a":"dsn"}'),
        (
            b'{"a":["dsn","x"], "b" : "\\"dsn\\":\\"x\\",","dsn":"d"}',
            b'{"a":["dsn","x"], "b" : "\\"dsn\\":\\"x\\","}',
        ),
        (b'{ "a" : 1 , "dsn" : "d" , "b" : 2 }', b'{ "a" : 1 , "b" : 2 }'),
    ],
)
def test_only_dsn_and_sent_at_are_cut_out(header: bytes, kept: bytes) -> None:
    assert header_after(header) == kept


def test_random_headers_keep_every_other_byte() -> None:
    seeded = random.Random(7)
    scalars = [b"1", b"-0.0", b"1E5", b"null", b"true", b'"x"', b'"\\u00e9,}"', b'"a\\\\"']

    def value(depth: int) -> bytes:
        kind = seeded.random()
        if depth and kind < 0.2:
            return b"[" + b" ,".join(value(depth - 1) for _ in range(seeded.randrange(3))) + b"]"
        if depth and kind < 0.5:
            return b"{" + b",".join(member(depth - 1)[1] for _ in range(seeded.randrange(4))) + b"}"
        return seeded.choice(scalars)

    def member(depth: int) -> tuple[bool, bytes]:
        name = seeded.choice([b"dsn", b"sent_at", b"a", b"d\\u0073n", b"event_id", b"dsn2"])
        space = seeded.choice([b"", b" ", b"\t "])
        colon = seeded.choice([b":", space + b":" + space])
        text = space + b'"' + name + b'"' + colon + value(depth) + space
        return name in (b"a", b"event_id", b"dsn2"), text

    for _ in range(2000):
        members = [member(3) for _ in range(seeded.randrange(6))]
        line = b"{" + b",".join(text for _, text in members) + b"}"
        kept = [text for is_kept, text in members if is_kept]
        expected = b"{" + b",".join(kept) + b"}"
        # White space next to what was cut out may go or stay.
        header = header_after(line).translate(None, b" \t")
        assert header == (expected if kept else b"{}").translate(None, b" \t"), line


def test_random_envelopes_survive_a_round_trip() -> None:
    seeded = random.Random(3)
    for _ in range(500):
        items = []
        for _ in range(seeded.randrange(5)):
            payload = seeded.randbytes(seeded.randrange(60))
            attributes = {"x": seeded.random(), "name": "é\n"}
            item = make_item(seeded.choice(["event", "new", ""]), payload, **attributes)
            if seeded.random() < 0.5 and b"\n" not in payload:
                item = Item(b'{ "type" : "lengthless" }', "lengthless", payload)
            items.append(item)
        header = {"n": seeded.random(), "trace": {"sent_at": "x"}} if seeded.random() < 0.7 else {}
        envelope = build(ID if seeded.random() < 0.5 else None, items, header)
        assert parse(serialize(envelope, **SENT)) == envelope


@pytest.mark.parametrize("items", [b'{"type":"event"}\n{}', b'{"type":"a","length":3}\nx\ny'])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_final_newline_is_neither_added_nor_lost(items: bytes, end: bytes) -> None:
    sent = serialize(parse(b'{"a":1}\n' + items + end), **SENT)
    assert sent == PREFIX + b',"a":1}\n' + items + end


def test_a_serialised_header_is_the_destinations_with_the_rest_behind() -> None:
    envelope = parse(b'{"dsn":"evil","event_id":"x", "sdk":{"n":1.0}}\n{"type":"event"}\n{}\n')
    sent = serialize(envelope, **SENT)
    assert sent == PREFIX + b',"event_id":"x", "sdk":{"n":1.0}}\n{"type":"event"}\n{}\n'
    assert json.loads(sent.split(b"\n")[0])["dsn"] == SENT["dsn"]


def test_event_ids_are_normalised_for_our_own_use_only() -> None:
    dashed = "9EC79C33-EC99-42AB-8353-589FCB2E04DC"
    envelope = parse(b'{"event_id":"%s"}' % dashed.encode())
    assert envelope.event_id == ID
    assert dashed.encode() in envelope.header
    assert normalize_event_id("nonsense") is None
    assert normalize_event_id(5) is None


def test_an_event_id_can_be_added() -> None:
    assert with_event_id(parse(b"{}"), ID).header == b'{"event_id":"%s"}' % ID.encode()
    envelope = with_event_id(parse(b'{"a":1.0,"event_id":"bad", "b":[1 ]}'), ID)
    assert envelope.header == b'{"event_id":"%s","a":1.0, "b":[1 ]}' % ID.encode()
    assert envelope.event_id == ID


def test_the_header_names_the_messages_topic_partition_and_offset() -> None:
    place = b'{"kafka":{"topic":"t\\"x","partition":3,"offset":7}'
    assert with_origin(parse(b"{}"), 't"x', 3, 7).header == place + b"}"
    named = with_origin(parse(b'{"event_id":"%s", "b":[1 ]}' % ID.encode()), 't"x', 3, 7)
    assert named.header == place + b',"event_id":"%s", "b":[1 ]}' % ID.encode()
    assert named.event_id == ID


def test_an_origin_from_the_sender_is_replaced() -> None:
    envelope = parse(b'{"kafka":{"topic":"other"},"a":1}')
    assert with_origin(envelope, "t", 0, 1).header == (
        b'{"kafka":{"topic":"t","partition":0,"offset":1},"a":1}'
    )


def test_a_built_envelope_leaves_dsn_and_sent_at_to_the_destination() -> None:
    envelope = build(
        ID, [], {"dsn": "d", "sent_at": "s", "event_id": "other", "sdk": {"name": "x"}}
    )
    assert orjson.loads(envelope.header) == {"event_id": ID, "sdk": {"name": "x"}}
    assert build(None, []).header == b"{}"
