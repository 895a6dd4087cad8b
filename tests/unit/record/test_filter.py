"""``--filter``: the messages that an expression is true of, and the errors of invalid ones."""

from __future__ import annotations

import msgpack
import orjson
import pytest

from consumer_fleet.consumers.registry import CONSUMERS, get
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.record.filter import FilterError, MessageFilter
from tests.support.messages import containing

RECORD = Record(
    offset=41,
    timestamp_ms=1_767_268_800_000,  # 2026-01-01T12:00
    key=b"key 7",
    value=orjson.dumps({"level": "error", "n": 5, "ok": True, "list": [{"a": "x y"}], "no": None}),
    headers=(("kind", b"a"), ("kind", b"b"), ("none", None), ("empty", b""), ("caf\u00e9", b"1")),
)
TOMBSTONE = Record(0, None, None, None, ())


def is_true(expression: str, record: Record = RECORD, partition: int = 3) -> bool:
    return MessageFilter(expression, None)(partition, record)


@pytest.mark.parametrize(
    "expression",
    [
        "key == 'key 7'",
        'key == `"key 7"`',
        "matches(key, '^key')",
        r"matches(key, '\d$')",
        "!(key == 'key')",
        "key != 'key'",
        "contains(key, '7')",
        "starts_with(key, 'key')",
        "matches(value, 'err.r')",
        "partition == `3`",
        "partition != `4`",
        "offset > `40` && offset < `42` && offset >= `41` && offset <= `41`",
        "size > `50`",
        "size < `1e3`",
        "timestamp == `1767268800000`",
        "timestamp > time('2026-01-01T11:59')",
        "timestamp <= time('2026-01-01 12:00+00:00')",
        "contains(headers.kind, 'a')",
        "headers.kind[1] == 'b'",
        "headers.\"caf\u00e9\"[0] == '1'",
        "headers.none[0] == `null`",
        "headers.absent == `null`",
        "!(headers.absent)",
        "headers.empty[0] == ''",
        "message.level == 'error'",
        "message.n == `5`",
        "message.n == `5.0`",
        "message.n > `4.5`",
        "message.ok == `true`",
        "message.ok",
        "message.no == `null`",
        "message.list[0].a == 'x y'",
        "message.list[1].a == `null`",
        "message.level.deeper == `null`",
        "message.n != `6` || partition == `9`",
        "partition == `9` || partition == `3` && size > `1`",
        "(partition == `9` || partition == `3`) && size > `1`",
        "message.list[?a == 'x y']",
        "matches(key, '(?i)KEY')",
        "@.offset == `41`",
        "message | level == 'error'",
    ],
)
def test_these_are_true(expression: str) -> None:
    assert is_true(expression)
    assert not is_true(f"!({expression})")


@pytest.mark.parametrize(
    "expression",
    [
        "key == 'key'",
        "key == `null`",
        "offset > `41`",
        "contains(headers.kind, 'c')",
        "headers.absent[0] == 'x'",
        "message.ok == `1`",
        "message.ok == 'true'",
        "message.n == '5'",
        "message.level > `1`",
        "message.absent",
        "message.list[?a == 'y']",
        "matches(message.no, '.*')",
    ],
)
def test_these_are_false(expression: str) -> None:
    assert not is_true(expression)


def test_a_missing_value_is_null() -> None:
    for fact in ("key", "value", "message.a", "headers.x", "timestamp"):
        assert is_true(f"{fact} == `null`", TOMBSTONE)
        assert not is_true(f"{fact} != `null`", TOMBSTONE)
    for expression in ("key == 'x'", "matches(value, '.*')", "timestamp < `9e99`"):
        assert not is_true(expression, TOMBSTONE)
    empty = TOMBSTONE._replace(key=b"", value=b"")
    assert is_true("key != `null` && value != `null` && key == '' && size == `0`", empty)


def test_the_event_and_the_decoded_message_are_found_in_each_format() -> None:
    event = {"event_id": "a" * 32, "level": "error"}
    envelope = b'{}\n{"type":"client_report"}\n{"level":"x"}\n{"type":"event"}\n' + orjson.dumps(
        event
    )
    found = {
        consumer: (containing(consumer, event), path)
        for consumer, path in (
            ("transactions", "[2].data.level"),
            ("ingest-transactions", ".payload.level"),
            ("ingest-feedback-events", ".payload.level"),
            ("ingest-attachments", ".payload.level"),
            ("ingest-replay-recordings", ".replay_event.level"),
            ("ingest-monitors", ".payload.level"),
            ("profiles", ".payload.level"),
        )
    }
    found |= {
        "events": (orjson.dumps([2, "insert", {"data": event, "level": "row"}, {}]), "[2].level"),
        "ingest-events": (
            msgpack.packb({"type": "event", "payload": orjson.dumps(event), "project_id": 7}),
            ".payload.level",
        ),
        "envelopes": (envelope, ".items[1].payload.level"),
    }
    assert found.keys() == {each.name for each in CONSUMERS}
    for consumer, (value, path) in found.items():
        for expression in ("event.level == 'error'", f"contains(['row', 'error'], message{path})"):
            matches = MessageFilter(expression, get(consumer))
            assert matches(0, TOMBSTONE._replace(value=value)), (consumer, expression)
            assert not matches(0, TOMBSTONE._replace(value=b"not an event")), consumer


def test_bytes_that_are_not_utf_8_are_compared_as_escapes() -> None:
    assert is_true(r"contains(key, '\xff')", RECORD._replace(key=b"a\xffb"))
    with pytest.raises(FilterError, match="not valid UTF-8"):
        MessageFilter("key == '\udcff'", None)  # as a command line gives the byte 0xFF


def test_a_message_that_a_function_does_not_apply_to_is_not_wanted_and_counted() -> None:
    wanted = MessageFilter("length(message.list) == `1`", None)
    assert wanted(0, RECORD)
    assert not wanted(0, TOMBSTONE)
    assert not wanted(0, TOMBSTONE)
    assert wanted.inapplicable == 2
    assert wanted.reason is not None
    assert "length()" in wanted.reason


@pytest.mark.parametrize(
    ("expression", "problem", "caret"),
    [
        ("", "an expression is expected", 0),
        ("   ", "an expression is expected", 0),
        ("colour == 'red'", "'colour' is unknown: expected partition", 0),
        ("key == 'a' && colour == 'red'", "'colour' is unknown", 14),
        ("message.key == colour", "'colour' is unknown", 15),
        ("`true`", "it looks at no fact", 0),
        ("key == ", "the expression is incomplete", 7),
        ("(key == 'a'", "the expression is incomplete", 11),
        ("key = 'a'", "use == to compare", 4),
        ("key == 'a' key", "unexpected 'key'", 11),
        ("key == 'a' and size", "'and' is && in JMESPath", 11),
        ("key == 'a')", "unexpected ')'", 10),
        ("key == 'a' & size", "unexpected '&'", 11),
        ("size > 5", "put numbers in backticks: `5`", 7),
        ("key == `null` || value == null", "put null in backticks", 26),
        ("key == 'open", "Unclosed ' delimiter", 7),
        ("matches(key, '(')", "not a valid regular expression", 13),
        ("timestamp > time('soon')", "not a valid time", 17),
        ("matches(key)", "matches takes 2 arguments, not 1", 0),
        ("key == upper(key)", "there is no function 'upper'", 7),
        ("event.level == 'error'", "--format", 0),
    ],
)
def test_an_error_names_the_problem_and_points_at_it(
    expression: str, problem: str, caret: int
) -> None:
    with pytest.raises(FilterError) as caught:
        MessageFilter(expression, None)
    message, line, pointer = str(caught.value).split("\n")
    assert problem in message
    assert line == f"  {expression}"
    assert pointer == " " * (caret + 2) + "^"


@pytest.mark.parametrize("expression", ["(" * 3000 + "key" + ")" * 3000, "key" + " " * 10_000])
def test_an_expression_beyond_all_bounds_is_an_error(expression: str) -> None:
    with pytest.raises(FilterError, match=r"too many levels|more than 10,000 characters"):
        MessageFilter(expression, None)
