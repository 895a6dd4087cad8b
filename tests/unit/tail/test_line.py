"""A message as a line of ``consumer tail``."""

from __future__ import annotations

import json
from dataclasses import replace

import click
import pytest

from consumer_fleet.consumers.registry import get
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.tail.line import Layout, TailLine, line_of

AT_MS = 1_700_000_000_123
EVENT = (
    b'{"event_id":"%032x","dsn":"https://k@example.com/42"}\n{"type":"event"}\n'
    b'{"level":"warning","exception":{"values":[{"type":"ValueError","value":"boom"}]}}\n' % 7
)


def read(value: bytes | None, consumer: str = "envelopes") -> TailLine:
    return line_of("raw", 3, Record(17, AT_MS, None, value, ()), get(consumer))


def text(line: TailLine, *, width: int | None = None, with_topic: bool = False) -> str:
    return click.unstyle(Layout(width, with_topic=with_topic).text(line))


def test_a_line_says_what_the_inspector_says_of_the_event() -> None:
    line = read(EVENT)
    assert (line.project, line.level, line.type) == (42, "warning", "error")
    assert line.title == "ValueError: boom"
    clock, *words = text(line).split()
    assert len(clock) == len("12:34:56")
    assert words == ["waiting", "3@17", "42", "warning", "ValueError:", "boom"]
    assert "raw/3@17" in text(line, with_topic=True)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"", None])
def test_what_can_not_be_read_is_a_line_with_the_reason(value: bytes | None) -> None:
    line = read(value)
    assert (line.project, line.level, line.type) == (None, None, "undecodable")
    assert line.title
    assert text(line).split()[3:5] == ["-", "-"]


def test_a_dead_letter_that_can_not_be_read_gives_its_reason_once() -> None:
    reason = "invalid_msgpack: byte 0"
    letter = replace(read(b"\xff"), title=reason, delivery="dead letter", detail=reason)
    assert text(letter).count(reason) == 1


def test_a_title_moves_no_cursor_and_fits_into_the_terminal() -> None:
    hostile = replace(read(EVENT), title="a\x1b[2J\u202eb" + "c" * 500, detail="d\nd")
    for width in (80, 120):
        shown = Layout(width, with_topic=True).text(hostile)
        assert "\x1b[2J" not in shown
        assert "\n" not in shown
        assert len(click.unstyle(shown)) == width
    assert text(hostile).endswith("d\\x0ad"), "elsewhere it is whole"


def test_later_columns_line_up_with_the_widest_before() -> None:
    layout = Layout(None, with_topic=False)
    wide = replace(read(EVENT), offset=10**12, project=123_456)
    shown = [click.unstyle(layout.text(each)) for each in (wide, read(EVENT))]
    assert shown[0].index("ValueError") == shown[1].index("ValueError")


def test_json_has_every_fact() -> None:
    line = replace(read(EVENT), delivery="held", detail="failing upstream HTTP 500: boom")
    assert json.loads(json.dumps(line.as_plain_data())) == {
        "at": "2023-11-14T22:13:20.123+00:00",
        "topic": "raw",
        "partition": 3,
        "offset": 17,
        "timestamp_ms": AT_MS,
        "project": 42,
        "type": "error",
        "level": "warning",
        "title": "ValueError: boom",
        "delivery": "held",
        "detail": "failing upstream HTTP 500: boom",
    }
