"""Join the spans, errors and logs of one trace, over all envelopes that have some.

Envelopes are untrusted: nothing here raises for their content, and nothing is completed. The page
makes a tree of the spans, whatever their parents are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from consumer_fleet.capture.envelope import Envelope, normalize_event_id
from consumer_fleet.capture.items import HAS_EVENT
from consumer_fleet.inspector.entry import Summary
from consumer_fleet.inspector.untrusted import (
    JsonObject,
    as_object,
    as_objects,
    load,
    one_line,
)

MAX_SPANS: Final = 100_000
MAX_MARKS: Final = 2_000
# A payload of 100,000 spans has some 30 MB.
_PARSED_BYTES: Final = 40 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """A span as sent. ``start`` and ``end`` are seconds since 1970; None if missing or invalid.

    ``is_segment`` is True for a transaction and for the root span of a service.
    """

    entry: int
    is_segment: bool
    span_id: str
    parent: str
    op: str
    name: str
    status: str
    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Mark:
    """An error or log on its span."""

    entry: int
    kind: str
    level: str
    title: str
    span_id: str
    at: float | None


@dataclass(slots=True)
class Trace:
    """``total_spans`` also counts those that are not in ``spans``, because there are too many."""

    spans: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    total_spans: int = 0
    total_marks: int = 0

    def add(self, part: Span | Mark) -> None:
        if isinstance(part, Span):
            self.total_spans += 1
            if len(self.spans) < MAX_SPANS:
                self.spans.append(part)
        else:
            self.total_marks += 1
            if len(self.marks) < MAX_MARKS:
                self.marks.append(part)


def join_trace(entries: Iterable[tuple[Summary, Envelope]], trace_id: str | None) -> Trace:
    """The trace's parts in all entries; a repeated delivery of an event counts once.

    Without an id, it is of all their spans.
    """
    trace = Trace()
    seen: set[str] = set()
    for summary, envelope in entries:
        if summary.event_id is not None and summary.event_id in seen:
            continue
        if summary.event_id is not None:
            seen.add(summary.event_id)
        for item in envelope.items:
            payload = load(item.payload, _PARSED_BYTES)
            for part in _parts(summary, item.type, payload, trace_id):
                trace.add(part)
    return trace


def _parts(
    summary: Summary, item_type: str, payload: JsonObject, trace_id: str | None
) -> Iterator[Span | Mark]:
    if item_type in HAS_EVENT:
        yield from _parts_of_event(summary, payload, trace_id)
    elif item_type == "span":
        spans = as_objects(payload.get("items")) if "items" in payload else [payload]
        for span in spans:
            if trace_id in (None, normalize_event_id(span.get("trace_id"))):
                yield _span(summary.id, span)
    elif item_type == "log":
        for log in as_objects(payload.get("items")):
            if trace_id is not None and normalize_event_id(log.get("trace_id")) == trace_id:
                span_id = log.get("span_id") or _attribute(log, "sentry.trace.parent_span_id")
                yield Mark(
                    summary.id,
                    "log",
                    one_line(log.get("level")),
                    one_line(log.get("body")),
                    one_line(span_id),
                    _time(log.get("timestamp")),
                )


def _parts_of_event(
    summary: Summary, event: JsonObject, trace_id: str | None
) -> Iterator[Span | Mark]:
    own = as_object(as_object(event.get("contexts")).get("trace"))
    own_trace = normalize_event_id(own.get("trace_id"))
    if summary.type != "transaction":
        if trace_id is not None and own_trace == trace_id:
            span_id, at = one_line(own.get("span_id")), _time(event.get("timestamp"))
            yield Mark(summary.id, summary.type, summary.level or "", summary.title, span_id, at)
        return
    if trace_id in (None, own_trace):
        named = {**event, **own, "description": event.get("transaction")}
        yield _span(summary.id, named, is_segment=True)
    for span in as_objects(event.get("spans")):
        # A span without a trace is part of its transaction's.
        if trace_id in (None, normalize_event_id(span.get("trace_id")) or own_trace):
            yield _span(summary.id, span)


def _span(entry_id: int, span: JsonObject, *, is_segment: bool = False) -> Span:
    """Read a span of either protocol: in the newer one, ``op`` is an attribute."""
    end = span.get("timestamp") if "timestamp" in span else span.get("end_timestamp")
    return Span(
        entry_id,
        is_segment or span.get("is_segment") is True,
        one_line(span.get("span_id")),
        one_line(span.get("parent_span_id")),
        one_line(span.get("op")) or one_line(_attribute(span, "sentry.op")),
        one_line(span.get("description")) or one_line(span.get("name")),
        one_line(span.get("status")),
        _time(span.get("start_timestamp")),
        _time(end),
    )


def _attribute(owner: JsonObject, name: str) -> Any:
    return as_object(as_object(owner.get("attributes")).get(name)).get("value")


def _time(value: object) -> float | None:
    """Seconds since 1970, of a number or ISO 8601 text; without a zone, it is UTC."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e12 else None
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value[:40])
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
