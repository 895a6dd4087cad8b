"""The envelopes codec: raw envelopes pass, and get an id where they need one."""

from __future__ import annotations

import json

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import Envelope, build, make_item, members_at, serialize_after
from consumer_fleet.codec import Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import message, outcomes
from tests.support.mutations import damaged_bytes

decode = registry.get("envelopes").decode

EVENT_ID = "9ec79c33ec9942ab8353589fcb2e04dc"
WHOLE = (
    b'{"event_id":"9ec79c33ec9942ab8353589fcb2e04dc","trace":{"a": 1.0,"b":"\\u00fc"},"new":[]}\n'
    b'{"type":"attachment","length":10,"filename":"hello.txt","later": 1e2}\n'
    b"\xef\xbb\xbfHello\r\n\n"
    b'{"type":"event"  ,"length":41,"content_type":"application/json"}\n'
    b'{"message":"hello world","level":"error"}\n'
    b'{"type":"from_next_year"}\n'
    b"anything\n"
)


def decoded(raw: bytes) -> Envelope:
    envelope = decode(message(raw))
    assert isinstance(envelope, Envelope)
    return envelope


def test_an_envelope_passes_byte_for_byte() -> None:
    envelope = decoded(WHOLE)
    lines = [envelope.header]
    for item in envelope.items:
        lines += [item.header, item.payload]
    assert b"\n".join([*lines, b""]) == WHOLE
    assert envelope.event_id == EVENT_ID


@pytest.mark.parametrize("kind", ["event", "transaction", "feedback", "user_report"])
def test_a_missing_id_is_taken_from_the_payload(kind: str) -> None:
    payload = json.dumps({"event_id": EVENT_ID}).encode()
    raw = b'{"sdk":{"name":"x"}}\n{"type":"%s"}\n%s\n' % (kind.encode(), payload)
    envelope = decoded(raw)
    assert envelope.event_id == EVENT_ID
    assert json.loads(envelope.header) == {"event_id": EVENT_ID, "sdk": {"name": "x"}}
    assert envelope.items[0].payload == payload


def test_the_headers_id_wins_over_the_payloads() -> None:
    raw = b'{"event_id":"%s"}\n{"type":"event"}\n{"event_id":"%s"}' % (EVENT_ID.encode(), b"a" * 32)
    assert decoded(raw).event_id == EVENT_ID


def test_an_event_names_the_id_rather_than_its_attachments_order() -> None:
    raw = b'{}\n{"type":"attachment"}\nx\n{"type":"event"}\n{"event_id":"%s"}' % EVENT_ID.encode()
    assert decoded(raw).event_id == EVENT_ID


@pytest.mark.parametrize(
    "items",
    [
        b'{"type":"attachment"}\nx',
        b'{"type":"event"}\n{"message":"no id"}',
        b'{"type":"event"}\nnot json',
        b'{"type":"event"}\n[]',
        b'{"type":"transaction"}\n{"event_id":"not one"}',
        b'{"type":"replay_event"}\n{}',
    ],
)
def test_where_nothing_names_an_id_it_is_that_of_the_place_in_kafka(items: bytes) -> None:
    first, again = decoded(b"{}\n" + items), decoded(b"{}\n" + items)
    assert first.event_id == again.event_id == message(b"").derived_event_id()
    other = decode(message(b"{}\n" + items, offset=8))
    assert isinstance(other, Envelope)
    assert other.event_id != first.event_id


def test_an_id_that_is_none_is_replaced() -> None:
    raw = b'{"event_id":"?"}\n{"type":"event"}\n{"event_id":"%s"}' % EVENT_ID.encode()
    assert json.loads(decoded(raw).header) == {"event_id": EVENT_ID}


@pytest.mark.parametrize("kind", ["session", "sessions", "statsd", "client_report", "check_in"])
def test_items_of_no_event_get_no_id(kind: str) -> None:
    envelope = decoded(b'{}\n{"type":"%s"}\n{}' % kind.encode())
    assert envelope.event_id is None
    assert envelope.header == b"{}"


@pytest.mark.parametrize("raw", [b"{}", b"{}\n", b'{"event_id":"%s"}\n\n' % EVENT_ID.encode()])
def test_an_envelope_without_items_is_skipped(raw: bytes) -> None:
    assert decode(message(raw)) == Skipped("empty_envelope")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b"no envelope", "invalid_envelope"),
        (b'{}\n{"type":"event","length":9}\n{}', "invalid_envelope"),
    ],
)
def test_what_is_no_envelope_is_rejected_with_its_reason(raw: bytes | None, reason: str) -> None:
    with pytest.raises(RejectedMessage) as caught:
        decode(message(raw))
    assert caught.value.reason == reason
    assert caught.value.detail


def test_damaged_input_is_rejected_and_never_raises_anything_else() -> None:
    counts = outcomes(decode, damaged_bytes(WHOLE, seed=6, count=5000))
    assert counts["invalid_envelope"] > 500
    assert counts["delivered"] > 100


def test_a_message_without_a_final_newline_does_not_gain_one() -> None:
    raw = b'{"sdk":{}}\n{"type":"event"}\n{"message":"hi"}'
    assert not decoded(raw).final_newline, "also where an event id is added to its header"
    assert decoded(raw).event_id is not None
    assert decoded(raw + b"\n").final_newline
    known = registry.get("envelopes").format
    assert known.with_event_id(raw, EVENT_ID)[-1:] == b"}"
    assert known.with_event_id(raw + b"\n", EVENT_ID)[-2:] == b"}\n"


@pytest.mark.parametrize("length", ['"' + "x" * 5000 + '"', "-1.5", "[" * 900 + "]" * 900])
def test_a_length_that_is_not_one_is_told_in_few_words(length: str) -> None:
    with pytest.raises(RejectedMessage, match="not a number of bytes") as caught:
        decode(message(b'{}\n{"type":"event","length":%b}\n{}' % length.encode()))
    assert len(caught.value.detail) < 100


DSNS = [Dsn.parse(f"https://key@sentry.example/{project}") for project in (1, 2, 3)]


@pytest.mark.parametrize(("sent_to", "is_copy"), [(0, True), (1, True), (2, False)])
def test_what_one_of_its_destinations_was_sent_is_a_copy(sent_to: int, is_copy: bool) -> None:
    options = Options(upstream_dsn=DSNS[0], saas_dsn=DSNS[1])
    marked_decode = registry.get("envelopes").format.with_options(options).decode
    dsn = DSNS[sent_to]
    original = build(None, (make_item("session", b"{}"),))
    found = marked_decode(message(serialize_after(members_at(0, str(dsn), dsn.mark), original)))
    assert isinstance(found, Skipped | Envelope)
    assert (found == Skipped("circle")) is is_copy
    # An SDK may have been given the very DSN that the envelope is sent to.
    unmarked = message(b'{"dsn":"%b"}\n{"type":"session"}\n{}\n' % str(dsn).encode())
    assert isinstance(marked_decode(unmarked), Envelope)


def test_marks_of_several_fleets_stay_side_by_side() -> None:
    first, second = DSNS[:2]
    raw = serialize_after(members_at(0, "https://k@h/1", first.mark), build(None, ()))
    raw += b'{"type":"session"}\n{}\n'
    passed = serialize_after(members_at(1, "https://k@h/2", second.mark), decoded(raw))
    members = json.loads(passed.split(b"\n")[0])
    assert [members[json.loads(dsn.mark)] for dsn in (first, second)] == [True, True]
