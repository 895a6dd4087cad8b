"""Synthetic entries for ``consumer inspect --demo``: every feature of the page, without Kafka.

``demo_data`` has the events, and a coverage report of the Python error's file.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from consumer_fleet.capture.envelope import Item, build, make_item
from consumer_fleet.inspector.demo_items import shop_visit
from consumer_fleet.inspector.entry import DeliveryResponse, KafkaPosition, NewEntry, Rejection
from consumer_fleet.inspector.feeder import Feed, as_bytes

Json = dict[str, Any]

DEMO_DATA: Final = Path(__file__).with_name("demo_data")
REPORT: Final = DEMO_DATA / "coverage.lcov"

_INTERVAL_S: Final = 37.0  # between two entries
_KAFKA_WAIT_S: Final = 1800.0
_TOPIC: Final = "ingest-events"
_GROUP: Final = "consumer-fleet-ingest-events"
_SDK: Final = {"name": "sentry.python", "version": "2.40.0"}


class _Sample(NamedTuple):
    items: tuple[Item, ...]
    event_id: str | None = None
    rejection: Rejection | None = None


def demo_feed() -> Feed:
    """All entries in one batch; the richest come last, to be at the top of the list."""
    now = time.time()
    visit = [_Sample(each.items, each.event_id) for each in shop_visit(_occurred_at())]
    samples = [*_without_event(), *_other_events(), *visit, _dead_letter(), *_errors()]
    yield [
        _undecodable(now - _INTERVAL_S * (len(samples) + 1)),
        *(
            _entry(sample, offset, now - _INTERVAL_S * (len(samples) - offset))
            for offset, sample in enumerate(samples)
        ),
    ]


def _entry(sample: _Sample, offset: int, at: float) -> NewEntry:
    envelope = build(sample.event_id, sample.items, {"sdk": _SDK})
    is_refused = sample.rejection is not None
    status, detail = (413, "too large") if is_refused else (200, "")
    topic = f"{_TOPIC}-dlq" if is_refused else _TOPIC
    return NewEntry(
        as_bytes(envelope),
        envelope,
        at,
        project="1",
        origin=KafkaPosition(topic, offset % 4, 20_400 + offset, int(at * 1000)),
        answers=(DeliveryResponse("upstream", status, detail, at),),
        dead_letter=sample.rejection,
    )


def _undecodable(at: float) -> NewEntry:
    problem = "the message is not a map"
    return NewEntry(
        b"\x93\x01\xc4\x05event\xff\x00" + bytes(range(64)),
        None,
        at,
        origin=KafkaPosition(f"{_TOPIC}-dlq", 0, 17, int(at * 1000)),
        dead_letter=Rejection("invalid_msgpack", problem, _GROUP, _TOPIC, 0, 20_399),
        undecodable=f"invalid_msgpack: {problem}",
    )


def _errors() -> Iterator[_Sample]:
    for name in ("wrong_types", "misleading_text", "markup"):
        yield _event(demo_event(name))
    yield _event(deep_recursion())
    for name in ("dotnet", "group", "native", "javascript", "python"):
        yield _event(demo_event(name))


def _dead_letter() -> _Sample:
    detail = "upstream answered 413: the event is larger than 1 MiB"
    rejection = Rejection("http_413", detail, _GROUP, _TOPIC, 3, 20_481)
    return _event(demo_event("dotnet"))._replace(rejection=rejection)


def _other_events() -> Iterator[_Sample]:
    yield _event(demo_event("feedback"), "feedback")
    yield _event(demo_event("csp"))
    note = _event({"level": "info", "logentry": {"formatted": "Rates were read"}})
    log = make_item("attachment", b"line 1\nline 2\n", filename="rates.log")
    yield note._replace(items=(*note.items, log))


def _without_event() -> Iterator[_Sample]:
    session = {"sid": uuid.uuid4().hex, "status": "crashed", "errors": 1, "duration": 12.5}
    check_in = {"monitor_slug": "nightly-rates", "status": "missed"}
    yield _Sample((make_item("statsd", b"checkout.duration@second:0.21:0.5|d|#currency:NOK"),))
    yield _Sample((make_item("future_item", b"\x00\x01\xff", x_version=3),))
    yield _Sample((make_item("session", orjson.dumps(session)),))
    yield _Sample((make_item("check_in", orjson.dumps(check_in)),))


def _occurred_at() -> float:
    """A time before the first entry was received: the events waited in Kafka."""
    return time.time() - _KAFKA_WAIT_S


def _event(event: Json, item_type: str = "event") -> _Sample:
    event_id = uuid.uuid4().hex
    payload = orjson.dumps({"event_id": event_id, "timestamp": _occurred_at(), **event})
    return _Sample((make_item(item_type, payload, content_type="application/json"),), event_id)


def demo_event(name: str) -> Json:
    """An event of ``demo_data``."""
    event: Json = orjson.loads((DEMO_DATA / f"{name}.json").read_bytes())
    return event


def deep_recursion(depth: int = 500) -> Json:
    """An error with ``depth`` frames, which the page must draw quickly."""
    frames = [
        {
            "filename": "tree/walk.py",
            "abs_path": "/srv/tree/walk.py",
            "module": "tree.walk",
            "function": "visit",
            "lineno": 40 + number % 3,
            "context_line": "        return [visit(child) for child in node.children]",
            "vars": {"depth": number, "node": f"<Node {number}>"},
            "in_app": number % 2 == 0,
        }
        for number in range(depth)
    ]
    error = {
        "type": "RecursionError",
        "value": "maximum recursion depth exceeded",
        "stacktrace": {"frames": frames},
    }
    return {
        "platform": "python",
        "level": "error",
        "transaction": "tree.rebuild",
        "exception": {"values": [error]},
        "sdk": {"name": "sentry.python", "version": "2.40.0"},
    }
