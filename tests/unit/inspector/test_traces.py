"""A trace is joined over envelopes, and nothing in it is invented."""

from __future__ import annotations

import json
from typing import Any

from consumer_fleet.capture.envelope import Item, build, make_item
from consumer_fleet.inspector.store import Store
from consumer_fleet.inspector.traces import Trace, join_trace
from tests.support.inspecting import envelope_entry

TRACE = "0af7651916cd43dd8448eb211c80319c"
OTHER = "f" * 32


def item(kind: str, payload: Any) -> Item:
    return make_item(kind, json.dumps(payload).encode())


def joined(*envelopes: list[Item], trace_id: str | None = TRACE) -> Trace:
    """Join these, stored newest last, as the API does."""
    store = Store()
    for items in envelopes:
        event = json.loads(items[0].payload)
        event_id = event.get("event_id") if isinstance(event, dict) else None
        store.add(envelope_entry(build(event_id, items)))
    found = store.of_trace(TRACE, 100) if trace_id is not None else store.latest(100)
    entries = []
    for summary in found:
        envelope = build(summary.event_id, envelopes[summary.id - 1])
        entries.append((summary, envelope))
    store.close()
    return join_trace(entries, trace_id)


def transaction(**more: Any) -> Item:
    trace = {"trace_id": TRACE, "span_id": "a", "op": "http.server", "status": "ok"}
    event = {"type": "transaction", "transaction": "/pay", "contexts": {"trace": trace}}
    return item("transaction", {**event, "start_timestamp": 10, "timestamp": 12.5, **more})


def test_a_transaction_its_spans_an_error_and_logs_are_one_trace() -> None:
    child = {
        "span_id": "b",
        "parent_span_id": "a",
        "op": "db",
        "description": "SELECT",
        "status": "ok",
    }
    newer = {
        "trace_id": TRACE, "span_id": "c", "parent_span_id": "b", "name": "queue",
        "start_timestamp": "1970-01-01T00:00:11Z", "end_timestamp": 11.5,
        "attributes": {"sentry.op": {"type": "string", "value": "queue.process"}},
    }  # fmt: skip
    error = {"level": "fatal", "timestamp": 11, "logentry": {"formatted": "no stock"},
             "contexts": {"trace": {"trace_id": TRACE, "span_id": "b"}}}  # fmt: skip
    log = {"trace_id": TRACE, "span_id": "c", "level": "info", "body": "paid", "timestamp": 11.2}
    trace = joined(
        [transaction(spans=[child])],
        [item("span", {"items": [newer, {**newer, "trace_id": OTHER}]})],
        [item("event", error)],
        [item("log", {"items": [log, {**log, "trace_id": OTHER}]})],
    )
    assert [
        (
            span.entry,
            span.is_segment,
            span.span_id,
            span.parent,
            span.op,
            span.name,
            span.start,
            span.end,
        )
        for span in trace.spans
    ] == [
        (1, True, "a", "", "http.server", "/pay", 10.0, 12.5),
        (1, False, "b", "a", "db", "SELECT", None, None),
        (2, False, "c", "b", "queue.process", "queue", 11.0, 11.5),
    ]
    assert [
        (mark.entry, mark.kind, mark.level, mark.title, mark.span_id, mark.at)
        for mark in trace.marks
    ] == [
        (3, "default", "fatal", "no stock", "b", 11.0),
        (4, "log", "info", "paid", "c", 11.2),
    ]


def test_an_event_delivered_twice_counts_once() -> None:
    event = transaction(event_id="e" * 32)
    assert len(joined([event], [event]).spans) == 1


def test_without_a_trace_id_all_spans_of_the_entry_are_shown() -> None:
    event = transaction(contexts=None, spans=[{"span_id": "b"}, {"trace_id": OTHER}])
    trace = joined([event], trace_id=None)
    assert [span.span_id for span in trace.spans] == ["", "b", ""]


def test_values_of_the_wrong_type_are_missing() -> None:
    spans = [
        7,
        {"span_id": ["x"], "start_timestamp": True, "timestamp": "soon", "op": {}, "status": 5},
    ]
    trace = joined([transaction(spans=spans, start_timestamp=1e300, timestamp=None)])
    assert [(span.start, span.end) for span in trace.spans] == [(None, None)] * 2
    assert (trace.spans[1].span_id, trace.spans[1].op, trace.spans[1].status) == ("", "", "5")


def test_spans_above_the_limit_are_counted_not_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr("consumer_fleet.inspector.traces.MAX_SPANS", 3)
    trace = joined([transaction(spans=[{"span_id": str(number)} for number in range(9)])])
    assert (len(trace.spans), trace.total_spans) == (3, 10)
