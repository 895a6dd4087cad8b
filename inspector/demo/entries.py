"""The demo's entries: the events as envelopes, and envelopes of everything that is no event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from fleet.capture.envelope import Item, build, make_item
from inspector.demo.hostile import markup_everywhere, text_that_lies, wrong_types
from inspector.demo.other_platforms import (
    deep_recursion,
    dotnet_error,
    javascript_error,
    native_crash,
)
from inspector.demo.python_error import python_error
from inspector.entry import Answer, DeadLetter, NewEntry, Origin
from inspector.feeder import Feed
from inspector.messages import as_bytes

# Coverage of the file in which the Python error was raised.
REPORT: Final = Path(__file__).with_name("coverage.lcov")

_INTERVAL_S: Final = 37.0  # between one entry and the next
_WAITED_S = 1800.0
_TOPIC: Final = "ingest-events"
_GROUP: Final = "consumer-fleet-ingest-events"
_SDK: Final = {"name": "sentry.python", "version": "2.40.0"}

Json = dict[str, Any]


class _Made(NamedTuple):
    items: tuple[Item, ...]
    event_id: str | None = None
    dead_letter: DeadLetter | None = None


def demo_feed() -> Feed:
    """All of them at once; the richest ones last, so that they stand at the top of the list."""
    now = time.time()
    made = [*_without_event(), *_other_events(), *_dead_letters(), *_errors()]
    yield [
        _undecodable(now - _INTERVAL_S * (len(made) + 1)),
        *(
            _entry(each, offset, now - _INTERVAL_S * (len(made) - offset))
            for offset, each in enumerate(made)
        ),
    ]


def _entry(made: _Made, offset: int, at: float) -> NewEntry:
    envelope = build(made.event_id, made.items, {"sdk": _SDK})
    refused = made.dead_letter is not None
    answer = Answer("upstream", 413 if refused else 200, "too large" if refused else "", at)
    topic = f"{_TOPIC}-dlq" if refused else _TOPIC
    return NewEntry(
        as_bytes(envelope),
        envelope,
        at,
        project="1",
        origin=Origin(topic, offset % 4, 20_400 + offset, int(at * 1000)),
        answers=(answer,),
        dead_letter=made.dead_letter,
    )


def _undecodable(at: float) -> NewEntry:
    letter = DeadLetter("invalid_msgpack", "the message is not a map", _GROUP, _TOPIC, 0, 20_399)
    return NewEntry(
        b"\x93\x01\xc4\x05event\xff\x00" + bytes(range(64)),
        None,
        at,
        origin=Origin(f"{_TOPIC}-dlq", 0, 17, int(at * 1000)),
        dead_letter=letter,
        undecodable="invalid_msgpack: the message is not a map",
    )


def _errors() -> Iterator[_Made]:
    hostile = (wrong_types, text_that_lies, markup_everywhere)
    for make in (*hostile, deep_recursion, dotnet_error, native_crash, javascript_error):
        yield _event("event", make())
    yield _event("event", python_error())


def _dead_letters() -> Iterator[_Made]:
    detail = "upstream answered 413: the event is larger than 1 MiB"
    letter = DeadLetter("http_413", detail, _GROUP, _TOPIC, 3, 20_481)
    yield _event("event", dotnet_error())._replace(dead_letter=letter)


def _other_events() -> Iterator[_Made]:
    yield _event("transaction", _transaction(_occurred_at()))
    yield _event("feedback", _feedback())
    yield _event("event", _csp())
    note = _event("event", {"level": "info", "logentry": {"formatted": "Rates were read"}})
    log = make_item("attachment", b"line 1\nline 2\n", filename="rates.log")
    yield note._replace(items=(*note.items, log))


def _without_event() -> Iterator[_Made]:
    session = {"sid": uuid.uuid4().hex, "status": "crashed", "errors": 1, "duration": 12.5}
    check_in = {"monitor_slug": "nightly-rates", "status": "missed"}
    yield _Made((make_item("statsd", b"checkout.duration@second:0.21:0.5|d|#currency:NOK"),))
    yield _Made((make_item("future_item", b"\x00\x01\xff", x_version=3),))
    yield _Made((make_item("session", orjson.dumps(session)),))
    yield _Made((make_item("check_in", orjson.dumps(check_in)),))


def _occurred_at() -> float:
    """Before the first of them was received: they waited in Kafka."""
    return time.time() - _WAITED_S


def _event(item_type: str, event: Json) -> _Made:
    event_id = uuid.uuid4().hex
    payload = orjson.dumps({"event_id": event_id, "timestamp": _occurred_at(), **event})
    return _Made((make_item(item_type, payload, content_type="application/json"),), event_id)


def _transaction(now: float) -> Json:
    trace_id, root = uuid.uuid4().hex, "b0a1c2d3e4f50617"
    names = ("SELECT cart", "GET rates.example.com", "SELECT customer", "INSERT invoice")
    spans = [
        {
            "trace_id": trace_id,
            "span_id": f"c{number:015x}",
            "parent_span_id": root,
            "op": "http.client" if "GET" in name else "db",
            "description": name,
            "start_timestamp": now - 0.4 + number * 0.08,
            "timestamp": now - 0.3 + number * 0.08,
            "status": "ok",
        }
        for number, name in enumerate(names)
    ]
    trace = {"trace_id": trace_id, "span_id": root, "op": "http.server", "status": "ok"}
    return {
        "type": "transaction",
        "platform": "python",
        "transaction": "/checkout",
        "start_timestamp": now - 0.5,
        "timestamp": now,
        "contexts": {"trace": trace},
        "spans": spans,
        "measurements": {"db.calls": {"value": 3, "unit": "none"}},
    }


def _feedback() -> Json:
    feedback = {"message": "The total was in the wrong currency.", "url": "/checkout"}
    return {"type": "feedback", "platform": "javascript", "contexts": {"feedback": feedback}}


def _csp() -> Json:
    report = {
        "effective_directive": "script-src",
        "blocked_uri": "https://cdn.example.net/x.js",
        "document_uri": "https://shop.example.com/cart",
    }
    return {"platform": "javascript", "logger": "csp", "csp": report}
