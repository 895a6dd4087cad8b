"""Own events: losses are counted as the SDK counts them, and bugs are sampled by their type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope, Item, PayloadRef
from sentry_sdk.transport import HttpTransport, Transport

from consumer_fleet.capture import gate
from consumer_fleet.capture.own_events import BugReports, LostEvents, report_bug
from tests.support.capturing import CountedMetrics
from tests.support.clock import ManualClock

ITEMS = [
    Item(PayloadRef(json={"spans": [{}, {}, {}]}), type="transaction"),
    Item(PayloadRef(json={}), type="transaction"),
    Item(b"{}", type="span"),
    Item(b"{}", {"item_count": 7}, type="span"),
    Item(b'{"items":[]}', {"item_count": 3}, type="log"),
    Item(b"12345", {"item_count": 0}, type="log"),
    Item(b"1234567", {"item_count": 2}, type="trace_metric"),
    Item(b"x" * 1000, type="attachment"),
    Item(b"", type="attachment"),
    Item(b"{}", type="event"),
    Item(b"{}", type="session"),
    Item(b"{}", type="from_next_year"),
]


@pytest.fixture
def sdk() -> Iterator[HttpTransport]:
    options = sentry_sdk.Client(dsn="http://key@127.0.0.1:1/1").options
    transport = HttpTransport(options)
    yield transport
    transport.kill()


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: str(item.headers))
def test_a_lost_item_counts_as_in_the_sdks_own_transport(item: Item, sdk: HttpTransport) -> None:
    sdk.record_lost_event("network_error", item=item)
    metrics = CountedMetrics()
    lost = LostEvents(metrics.incr)
    lost.add_item("network_error", item)
    report = lost.take_report()
    assert report is not None
    counted = {
        (each["category"], each["reason"]): each["quantity"]
        for each in orjson.loads(report.items[0].payload)["discarded_events"]
    }
    assert counted == dict(sdk._discarded_events)
    assert metrics.total("internal.lost_events") == sum(counted.values())


class Kept(Transport):
    """Keeps what it captures."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        event = envelope.get_event()
        assert event is not None
        self.events.append(dict(event))


@pytest.fixture
def kept() -> Iterator[list[dict[str, Any]]]:
    transport = Kept()
    sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=transport, default_integrations=False)
    yield transport.events
    sentry_sdk.get_global_scope().set_client(None)


def test_of_each_type_of_bug_one_a_minute_is_reported_with_the_number_left_out(
    kept: list[dict[str, Any]],
) -> None:
    clock = ManualClock(1000.0)
    bugs = BugReports(clock)
    for _ in range(150):
        bugs.report(ValueError("a"), topic="events")
        bugs.report(KeyError("b"))
        clock.now += 0.5
    found = [(event["exception"]["values"][0]["type"], event["tags"]["left_out"]) for event in kept]
    assert found == [
        ("ValueError", "0"),
        ("KeyError", "0"),
        ("ValueError", "119"),
        ("KeyError", "119"),
    ]
    assert kept[0]["tags"]["topic"] == "events"


def test_a_bug_in_what_captures_is_marked_as_unsafe_for_saas(kept: list[dict[str, Any]]) -> None:
    with pytest.raises(AttributeError) as caught:
        gate.longest_limit_s(7)  # type: ignore[arg-type]  # the bug
    report_bug(caught.value)
    report_bug(ValueError("elsewhere"))
    assert [event.get("tags", {}).get("_unsafe") for event in kept] == ["true", None]


def test_a_report_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture_exception(_error: BaseException) -> None:
        raise MemoryError

    monkeypatch.setattr(sentry_sdk, "capture_exception", capture_exception)
    report_bug(ValueError("a"))
