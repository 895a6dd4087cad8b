"""The demo's entries: the events as envelopes, and envelopes of everything that is no event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from consumer_fleet.capture.envelope import Item, build, make_item
from consumer_fleet.inspector.demo.other_platforms import (
    deep_recursion,
    dotnet_error,
    javascript_error,
    native_crash,
)
from consumer_fleet.inspector.entry import Answer, DeadLetter, NewEntry, Origin
from consumer_fleet.inspector.feeder import Feed
from consumer_fleet.inspector.messages import as_bytes

Json = dict[str, Any]

_MARKUP = '<img src=x onerror=alert(1)><script>alert("x")</script>'


def markup_everywhere() -> Json:
    frame = {
        "filename": _MARKUP,
        "abs_path": "javascript:alert(1)",
        "module": _MARKUP,
        "function": _MARKUP,
        "lineno": 1,
        "context_line": _MARKUP,
        "vars": {_MARKUP: _MARKUP, "__proto__": {"polluted": True}, "constructor": "x"},
        "in_app": True,
    }
    return {
        "platform": "javascript",
        "level": "error",
        "transaction": _MARKUP,
        "exception": {
            "values": [{"type": _MARKUP, "value": _MARKUP, "stacktrace": {"frames": [frame]}}]
        },
        "request": {"url": "javascript:alert(document.domain)"},
        "tags": {"link": "https://attacker.example/", _MARKUP: _MARKUP},
    }


def text_that_lies() -> Json:
    """Control characters, reversed text, a very long word, and numbers that need 64 bits."""
    return {
        "platform": "other",
        "level": "warning",
        "message": "paid \u202egnp.exe\u202c \x1b[31mred\x1b[0m \x00 " + "A" * 3000,
        "extra": {
            "largest": 18446744073709551615,
            "nested": [[[[[[[[[["deep"]]]]]]]]]],
            "empty": {"list": [], "object": {}, "text": "", "nothing": None},
        },
    }


def wrong_types() -> Json:
    """Every interface is there, and none has its documented shape."""
    return {
        "platform": 7,
        "level": ["error"],
        "transaction": {"name": "x"},
        "exception": {"values": [None, 3, {"type": None, "stacktrace": {"frames": "none"}}]},
        "breadcrumbs": "none",
        "tags": [["one"], None, "two", {"three": 3}],
        "contexts": [],
        "request": False,
        "user": 12,
    }


# demo/coverage.lcov has lines of this file, by this number.
_CHECKOUT: Final = """\
from decimal import Decimal

from shop import rates
from shop.errors import CheckoutError, RateMissing


def total(cart, currency):
    amount = sum((line.price * line.count for line in cart.lines), Decimal(0))
    try:
        rate = rates.find(cart.currency, currency)
    except KeyError as error:
        raise RateMissing(f"no rate from {cart.currency} to {currency}") from error
    if rate is None:
        return amount
    return (amount * rate).quantize(Decimal("0.01"))


def check_out(cart, customer):
    if not cart.lines:
        raise CheckoutError("the cart is empty")
    due = total(cart, customer.currency)
    return customer.charge(due)
""".splitlines()


def _frame(line: int, function: str, variables: Json) -> Json:
    return {
        "abs_path": "/srv/shop/src/shop/checkout.py",
        "filename": "shop/checkout.py",
        "module": "shop.checkout",
        "function": function,
        "lineno": line,
        "pre_context": _CHECKOUT[max(0, line - 6) : line - 1],
        "context_line": _CHECKOUT[line - 1],
        "post_context": _CHECKOUT[line : line + 5],
        "vars": variables,
        "in_app": True,
    }


def _library_frame() -> Json:
    return {
        "abs_path": "/srv/shop/.venv/lib/python3.12/site-packages/flask/app.py",
        "filename": "flask/app.py",
        "module": "flask.app",
        "function": "dispatch_request",
        "lineno": 917,
        "context_line": "    return self.ensure_sync(self.view_functions[rule.endpoint])(**args)",
        "in_app": False,
    }


def _chain() -> list[Json]:
    cart = {
        "currency": "'SEK'",
        "lines": ["<Line 3 x 'lamp'>", "<Line 1 x 'shelf'>"],
        "coupon": None,
        "is_gift": False,
    }
    customer = {"currency": "'NOK'", "card": "[Filtered]", "visits": 9007199254740993}
    frames = [
        _library_frame(),
        _frame(21, "check_out", {"cart": cart, "customer": customer}),
        _frame(12, "total", {"cart": cart, "currency": "'NOK'"}),
    ]
    return [
        {
            "type": "KeyError",
            "value": "('SEK', 'NOK')",
            "module": "builtins",
            "mechanism": {"type": "chained", "handled": True, "exception_id": 1},
            "stacktrace": {"frames": [_frame(10, "total", {"amount": "Decimal('548.50')"})]},
        },
        {
            "type": "RateMissing",
            "value": "no rate from SEK to NOK\nrates were last read 14 hours ago",
            "module": "shop.errors",
            "mechanism": {"type": "flask", "handled": False, "exception_id": 0},
            "stacktrace": {"frames": frames},
        },
    ]


def python_error() -> Json:
    return {
        "platform": "python",
        "level": "error",
        "transaction": "/checkout",
        "logger": "shop.web",
        "release": "shop@2.14.0+8f1c2d7e5a904b3c6d1e0f9a8b7c6d5e4f3a2b1c",
        "environment": "production",
        "server_name": "web-3",
        "exception": {"values": _chain()},
        "request": {
            "method": "POST",
            "url": "https://shop.example.com/checkout",
            "headers": [["Authorization", "[Filtered]"], ["User-Agent", "curl/8.5.0"]],
            "data": {"customer": "[Filtered]", "cart": 4711},
        },
        "breadcrumbs": {
            "values": [
                {"category": "query", "message": "SELECT * FROM cart WHERE id = %s"},
                {"category": "http", "data": {"url": "https://rates.example.com", "status": 503}},
            ]
        },
        "tags": {"region": "north", "payment": "card"},
        "contexts": {"runtime": {"name": "CPython", "version": "3.12.4", "type": "runtime"}},
        "sdk": {"name": "sentry.python.flask", "version": "2.40.0"},
        "_meta": _redactions(),
    }


def _redactions() -> Json:
    removed = {"": {"rem": [["@password:filter", "s", 0, 10]], "len": 16}}
    variables = {"customer": {"card": removed}}
    frames = {"1": {"vars": variables}}
    return {
        "exception": {"values": {"1": {"stacktrace": {"frames": frames}}}},
        "request": {
            "data": {"customer": removed},
            "headers": {"0": {"1": {"": {"rem": [["@ip:replace", "s"]], "len": 40}}}},
        },
    }


# Coverage of the file in which the Python error was raised.
REPORT: Final = Path(__file__).with_name("coverage.lcov")

_INTERVAL_S: Final = 37.0  # between one entry and the next
_WAITED_S = 1800.0
_TOPIC: Final = "ingest-events"
_GROUP: Final = "consumer-fleet-ingest-events"
_SDK: Final = {"name": "sentry.python", "version": "2.40.0"}


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
