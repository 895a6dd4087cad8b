"""One visit of a synthetic shop, as SDKs send it: every kind of item, most of them of one trace."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator
from typing import Any, Final

import orjson

from consumer_fleet.capture.envelope import Envelope, Item, build, make_item

Json = dict[str, Any]

_RELEASE: Final = "shop@2.3.1"
_SDK: Final = {"name": "sentry.python", "version": "2.40.0"}
_ROOT: Final = "b0a1c2d3e4f50617"
_RATES: Final = "c000000000000001"
_CHARGE: Final = "c000000000000003"
# Name, operation, status, parent, and the milliseconds of its start and end in the trace.
_SPANS: Final = (
    ("c000000000000000", "SELECT cart", "db", "ok", _ROOT, 12, 64),
    (_RATES, "GET rates.example.com", "http.client", "not_found", _ROOT, 70, 188),
    ("c000000000000002", "cache: rates", "cache.get", "ok", _RATES, 72, 75),
    (_CHARGE, "charge the card", "function", "ok", _ROOT, 195, 430),
    ("c000000000000004", "POST pay.example.com", "http.client", "ok", _CHARGE, 201, 402),
    ("c000000000000005", "INSERT invoice", "db", "ok", _ROOT, 433, 470),
)
_FRAMES: Final = (
    ("shop/web.py", "checkout", 41, "    total = cart.total(currency)", {"currency": "NOK"}),
    ("shop/rates.py", "rate", 27, "    raise RateMissing(code)", {"code": "NOK", "cached": None}),
)


def shop_visit(now: float) -> Iterator[Envelope]:
    """The envelopes of a visit that ends ``now``, in the order in which they are sent."""
    trace_id, error_id = uuid.uuid4().hex, uuid.uuid4().hex
    start = now - 0.5
    yield _envelope("check_in", _check_in())
    yield _envelope("session", _session(start))
    yield _event_envelope(
        "event",
        _error(trace_id, start),
        error_id,
        make_item("attachment", _LOG, filename="rates.log", content_type="text/plain"),
        make_item("attachment", _picture(), filename="screen.png", content_type="image/png"),
    )
    yield _envelope("log", {"items": list(_logs(trace_id, start))})
    yield _envelope("trace_metric", {"items": list(_metrics(trace_id, start))})
    yield _envelope("span", {"items": [_queue_span(trace_id, start)]})
    profile = make_item("profile", orjson.dumps(_profile(trace_id)))
    yield _event_envelope("transaction", _transaction(trace_id, start), uuid.uuid4().hex, profile)
    yield _event_envelope("feedback", _feedback(error_id, now), uuid.uuid4().hex)
    yield _envelope("client_report", _client_report(now))


def _envelope(kind: str, payload: Json) -> Envelope:
    return build(None, [make_item(kind, orjson.dumps(payload))], {"sdk": _SDK})


def _event_envelope(kind: str, event: Json, event_id: str, *more: Item) -> Envelope:
    payload = {
        "event_id": event_id,
        "platform": "python",
        "release": _RELEASE,
        "sdk": _SDK,
        **event,
    }
    return build(event_id, [make_item(kind, orjson.dumps(payload)), *more], {"sdk": _SDK})


def _check_in() -> Json:
    schedule = {"type": "crontab", "value": "15 3 * * *"}
    return {
        "check_in_id": uuid.uuid4().hex,
        "monitor_slug": "nightly-rates",
        "status": "ok",
        "duration": 12.5,
        "environment": "production",
        "monitor_config": {"schedule": schedule},
    }


def _session(start: float) -> Json:
    attributes = {"release": _RELEASE, "environment": "production"}
    return {
        "sid": uuid.uuid4().hex,
        "status": "exited",
        "errors": 1,
        "started": start,
        "duration": 0.5,
        "attrs": attributes,
    }


def _error(trace_id: str, start: float) -> Json:
    frames = [
        {"filename": file, "abs_path": f"/srv/{file}", "function": function, "lineno": line,
         "context_line": text, "vars": variables, "in_app": True}
        for file, function, line, text, variables in _FRAMES
    ]  # fmt: skip
    error = {
        "type": "RateMissing",
        "value": "no rate for NOK",
        "stacktrace": {"frames": frames},
        "mechanism": {"type": "generic", "handled": True},
    }
    return {
        "level": "error",
        "timestamp": start + 0.187,
        "transaction": "/checkout",
        "exception": {"values": [error]},
        "tags": {"shop": "Basel"},
        "user": {"id": "4711", "email": "jane@example.com"},
        "contexts": {"trace": {"trace_id": trace_id, "span_id": _RATES, "parent_span_id": _ROOT}},
    }


def _logs(trace_id: str, start: float) -> Iterator[Json]:
    for level, body, span_id, at in (
        ("info", "cart loaded: 3 items", _ROOT, 0.066),
        ("warning", "rate for NOK is stale: asking the bank", _RATES, 0.074),
        ("info", "card charged", _CHARGE, 0.41),
    ):
        yield {
            "timestamp": start + at,
            "trace_id": trace_id,
            "span_id": span_id,
            "level": level,
            "body": body,
            "attributes": {"shop": {"value": "Basel", "type": "string"}},
        }


def _metrics(trace_id: str, start: float) -> Iterator[Json]:
    for name, kind, value, unit in (
        ("orders.paid", "counter", 1, "order"),
        ("cart.total", "distribution", 129.9, "franc"),
        ("queue.length", "gauge", 7, None),
    ):
        yield {
            "timestamp": start + 0.47,
            "trace_id": trace_id,
            "span_id": _ROOT,
            "name": name,
            "type": kind,
            "value": value,
            **({"unit": unit} if unit else {}),
            "attributes": {"shop": {"value": "Basel", "type": "string"}},
        }


def _queue_span(trace_id: str, start: float) -> Json:
    """The root span of another service, in the newer protocol."""
    return {
        "trace_id": trace_id,
        "span_id": "d000000000000001",
        "parent_span_id": _CHARGE,
        "name": "print the invoice",
        "status": "ok",
        "is_segment": True,
        "start_timestamp": start + 0.405,
        "end_timestamp": start + 0.492,
        "attributes": {"sentry.op": {"value": "queue.process", "type": "string"}},
    }


def _transaction(trace_id: str, start: float) -> Json:
    spans = [
        {"trace_id": trace_id, "span_id": span_id, "parent_span_id": parent, "op": op,
         "description": name, "status": status,
         "start_timestamp": start + first / 1000, "timestamp": start + last / 1000}
        for span_id, name, op, status, parent, first, last in _SPANS
    ]  # fmt: skip
    trace = {"trace_id": trace_id, "span_id": _ROOT, "op": "http.server", "status": "ok"}
    return {
        "type": "transaction",
        "transaction": "/checkout",
        "start_timestamp": start,
        "timestamp": start + 0.5,
        "contexts": {"trace": trace},
        "spans": spans,
        "measurements": {"db.calls": {"value": 2, "unit": "none"}},
    }


def _profile(trace_id: str) -> Json:
    frames = [
        {"function": function, "filename": file, "lineno": line, "in_app": True}
        for file, function, line, _, _ in _FRAMES
    ]
    waiting = {"function": "SSLSocket.read", "filename": "ssl.py", "lineno": 1099, "in_app": False}
    samples = [
        {"stack_id": 0 if number % 3 else 1, "thread_id": "1", "elapsed_since_start_ns": at}
        for number, at in enumerate(range(0, 490_000_000, 10_000_000))
    ]
    return {
        "transaction": {"name": "/checkout", "trace_id": trace_id},
        "profile": {"frames": [*frames, waiting], "stacks": [[2, 0], [1, 0]], "samples": samples},
    }


def _feedback(error_id: str, now: float) -> Json:
    feedback = {
        "message": "The total stays empty when I pay in kroner.",
        "name": "Jane",
        "contact_email": "jane@example.com",
        "associated_event_id": error_id,
    }
    return {"timestamp": now, "contexts": {"feedback": feedback}}


def _client_report(now: float) -> Json:
    discarded = {"reason": "sample_rate", "category": "transaction", "quantity": 9}
    return {"timestamp": now, "discarded_events": [discarded]}


_LOG: Final = b"03:15:02 rates: asking the bank\n03:15:03 rates: 404 for NOK\n"


def _picture(width: int = 320, height: int = 120) -> bytes:
    """A picture of a page: a PNG with a bar, a column and some lines of text."""

    def shade(x: int, y: int) -> int:
        is_text = x > 90 and y > 35 and y % 14 < 5 and x < 90 + (y * 37) % 200
        return 60 if y < 20 else 225 if x < 70 else 150 if is_text else 250

    rows = b"".join(b"\0" + bytes(shade(x, y) for x in range(width)) for y in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
