"""``--filter``: what it is true of, and what it says of an expression that is none."""

from __future__ import annotations

import msgpack
import orjson
import pytest

from consumer_fleet.consumers.registry import get
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.record.filter import FilterError, parse_filter

RECORD = Record(
    offset=41,
    timestamp_ms=1_767_268_800_000,  # 2026-01-01T12:00
    key=b"key 7",
    value=orjson.dumps({"level": "error", "n": 5, "ok": True, "list": [{"a": "x y"}], "no": None}),
    headers=(("kind", b"a"), ("kind", b"b"), ("none", None), ("empty", b""), ("caf\u00e9", b"1")),
)
TOMBSTONE = Record(0, None, None, None, ())


def is_true(expression: str, record: Record = RECORD, partition: int = 3) -> bool:
    return parse_filter(expression, None)(partition, record)


@pytest.mark.parametrize(
    "expression",
    [
        'key="key 7"',
        "key='key 7'",
        "key~=^key",
        r'key~="\d$"',
        "not key=key",
        "key!=key",
        "value~=err.r",
        "partition=3",
        "partition!=4",
        "offset>40 and offset<42 and offset>=41 and offset<=41",
        "size>50",
        "size<1e3",
        "timestamp=1767268800000",
        "timestamp>2026-01-01T11:59",
        'timestamp<="2026-01-01 12:00+00:00"',
        "header.kind=a",
        "header.kind=b",
        "header.caf\u00e9=1",
        "header.none=null",
        "header.absent=null",
        "header.empty!=null",
        'header.empty=""',
        "header.absent!=x",
        "json.level=error",
        'json.level="error"',
        "json.n=5",
        "json.n=5.0",
        "json.n>4.5",
        "json.n~=5",
        "json.ok=true",
        "json.no=null",
        "json.list.0.a='x y'",
        "json.list.1.a=null",
        "json.level.deeper=null",
        "json.n!=6 or partition=9",
        "partition=9 or partition=3 and size>1",
        "(partition=9 or partition=3) and size>1",
        "not (partition=9 or partition=4)",
        "not not partition=3",
        "  partition  =  3  ",
        "partition=3 and(size>1)",
        'key~="(?i)KEY"',
        "json.level!=a=b",
    ],
)
def test_these_are_true(expression: str) -> None:
    assert is_true(expression)
    assert not is_true(f"not ({expression})")


@pytest.mark.parametrize(
    "expression",
    [
        "key=key",
        "key=null",
        "offset>41",
        "partition=9 or partition=3 and size>1000",
        "header.kind=c",
        "header.kind=null",
        "header.absent=x",
        "header.absent~=.*",
        "json.ok=1",
        "json.ok='true'",
        "json.n='5'",
        "json.no~=.*",
        "json.level>1",
        "json.list~=a",
        'json.no="null"',
        "event.level=null or partition=9".replace("event", "json"),
    ],
)
def test_these_are_false(expression: str) -> None:
    assert not is_true(expression)


def test_what_is_absent_equals_null_and_nothing_else() -> None:
    for fact in ("key", "value", "json.a", "header.x", "timestamp"):
        assert is_true(f"{fact}=null", TOMBSTONE)
        assert not is_true(f"{fact}!=null", TOMBSTONE)
    for expression in ("key=x", "value~=.*", "json.a=1", "header.x=y", "timestamp<9e99"):
        assert not is_true(expression, TOMBSTONE)
    empty = TOMBSTONE._replace(key=b"", value=b"")
    assert is_true("key!=null and value!=null and key='' and size=0", empty)


def test_the_event_is_found_in_each_format() -> None:
    event = {"event_id": "a" * 32, "level": "error"}
    envelope = b'{}\n{"type":"client_report"}\n{"level":"x"}\n{"type":"event"}\n' + orjson.dumps(
        event
    )
    values = {
        "events": orjson.dumps([2, "insert", {"data": event, "level": "row"}, {}]),
        "ingest-events": msgpack.packb({"type": "event", "payload": orjson.dumps(event)}),
        "envelopes": envelope,
    }
    for consumer, value in values.items():
        matches = parse_filter("event.level=error", get(consumer))
        assert matches(0, TOMBSTONE._replace(value=value)), consumer
        assert not matches(0, TOMBSTONE._replace(value=b"no event")), consumer


@pytest.mark.parametrize(
    ("expression", "problem", "caret"),
    [
        ("", "expected a fact", 0),
        ("   ", "expected a fact", 3),
        ("colour=red", "no fact", 0),
        ("key=a and colour=red", "no fact", 10),
        ("header.=1", "no fact", 0),
        ("json.a..b=1", "a path is", 0),
        ("key", "expected =", 3),
        ("key=", "expected a value", 4),
        ("key=a key=b", "expected and, or", 6),
        ("(key=a", "expected )", 6),
        ("key=a)", "expected and, or", 5),
        ("key=a or", "expected a fact", 8),
        ("and key=a", "expected a fact", 0),
        ("key~='(' and size>1", "no regular expression", 5),
        ("size~=1", "~= does not apply", 4),
        ("key > 1", "> does not apply", 4),
        ("size>many", "expected a number", 5),
        ("timestamp>soon", "expected milliseconds", 10),
        ("key='open", "expected a value", 4),
        ("key=a & size>1", "expected and, or", 6),
        ("event.level=error", "--format", 0),
        ("(" * 200 + "key=a" + ")" * 200, "more than 100 levels", 100),
    ],
)
def test_an_error_says_what_is_expected_and_shows_where(
    expression: str, problem: str, caret: int
) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(expression, None)
    message, line, pointer = str(caught.value).split("\n")
    assert problem in message
    assert line == f"  {expression}"
    assert pointer == " " * (caret + 2) + "^"


def test_an_expression_that_is_no_utf_8_is_an_error_that_names_the_way() -> None:
    with pytest.raises(FilterError, match="no UTF-8"):
        parse_filter("key=\udcff", None)  # as a command line gives the byte 0xFF
    assert is_true(r"key~=\xff", RECORD._replace(key=b"a\xffb"))
