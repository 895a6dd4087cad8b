"""The promises of the multiplexing transport, against two real HTTP servers."""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope as SdkEnvelope
from sentry_sdk.envelope import Item as SdkItem

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.dsn import Dsn
from consumer_fleet.capture.envelope import (
    Envelope,
    InternalEnvelope,
    build,
    make_item,
    with_origin,
)
from consumer_fleet.capture.held import Held
from consumer_fleet.capture.options import CaptureOptions, DestinationOptions
from consumer_fleet.capture.transport import MultiplexingTransport, build_transport
from tests.support.capturing import (
    CountedMetrics,
    RecordedReceipt,
    delivery_loop,
    drive_for,
    drive_until,
    event,
    event_ids,
    make_destination,
)
from tests.support.scripted_receiver import Reply, ScriptedReceiver

STATSD = make_item("statsd", b"a:1|c")


@dataclass
class Setting:
    """A transport between two receivers."""

    loop: DeliveryLoop
    upstream_server: ScriptedReceiver
    saas_server: ScriptedReceiver
    metrics: CountedMetrics

    def destination(self, name: str, **options: Any) -> Destination:
        server = self.upstream_server if name == "upstream" else self.saas_server
        if name == "upstream":
            options.setdefault("drop_items", frozenset({"statsd"}))
        return make_destination(self.loop, server.dsn(), name, incr=self.metrics.incr, **options)

    def transport(
        self,
        upstream: Destination | None = None,
        saas: Destination | None = None,
        *,
        saas_sample_rate: float = 1.0,
    ) -> MultiplexingTransport:
        return MultiplexingTransport(
            upstream,
            saas,
            self.loop,
            saas_sample_rate=saas_sample_rate,
            incr=self.metrics.incr,
        )

    def both(self, **options: Any) -> MultiplexingTransport:
        return self.transport(self.destination("upstream"), self.destination("saas"), **options)


@pytest.fixture
def setting() -> Iterator[Setting]:
    with ScriptedReceiver() as upstream, ScriptedReceiver() as saas, delivery_loop() as loop:
        yield Setting(loop, upstream, saas, CountedMetrics())


def capture(
    transport: MultiplexingTransport, envelope: Envelope, **options: Any
) -> RecordedReceipt:
    receipt = RecordedReceipt()
    transport.capture(envelope, receipt, 0, **{"sampling_key": envelope.event_id or "", **options})
    return receipt


def settle(transport: MultiplexingTransport, *receipts: RecordedReceipt) -> None:
    drive_until(transport.run_once, lambda: all(each.settlements for each in receipts))


def broken_send(*_args: object) -> None:
    raise LookupError("a bug")


def types_of(server: ScriptedReceiver) -> list[list[str]]:
    return [[item.type for item in envelope.items] for envelope in server.envelopes]


def test_both_destinations_get_each_envelope_and_the_receipt_settles_once(setting: Setting) -> None:
    transport = setting.both()
    receipts = [capture(transport, event(event_id)) for event_id in event_ids(50)]
    settle(transport, *receipts)
    assert all(each.settlements == [None] for each in receipts)
    assert all(sorted(each.accepted_by) == ["saas", "upstream"] for each in receipts)
    for server in (setting.upstream_server, setting.saas_server):
        assert sorted(str(each.event_id) for each in server.envelopes) == event_ids(50)
    transport.flush(5)
    assert setting.metrics.total("internal.captured.events.upstream") == 50
    assert setting.metrics.total("internal.captured.events.relay") == 50
    assert setting.metrics.total("capture.accepted", destination="saas") == 50


def test_the_internal_projects_envelopes_never_reach_saas(setting: Setting) -> None:
    transport = setting.both()
    envelope = with_origin(InternalEnvelope(*event("a" * 32, STATSD)), "t", 0, 1)
    receipts = [capture(transport, envelope), capture(transport, event("b" * 32))]
    settle(transport, *receipts)
    assert [each.settlements for each in receipts] == [[None], [None]]
    assert [each.event_id for each in setting.saas_server.envelopes] == ["b" * 32]
    assert len(setting.upstream_server.envelopes) == 2
    transport.flush(5)
    uncaptured = setting.metrics.total(
        "internal.uncaptured.events.relay", reason="internal_project"
    )
    assert uncaptured == 1


def test_a_receipt_waits_for_every_required_destination(setting: Setting) -> None:
    setting.saas_server.respond(503)
    transport = setting.both()
    receipt = capture(transport, event())
    drive_until(transport.run_once, lambda: receipt.accepted_by == ["upstream"])
    drive_for(transport.run_once, 0.1)
    assert receipt.settlements == []
    setting.saas_server.respond(200)
    settle(transport, receipt)
    assert receipt.accepted_by == ["upstream", "saas"]


def test_a_rejection_settles_when_the_other_destination_is_done(setting: Setting) -> None:
    setting.upstream_server.respond(400)
    setting.saas_server.respond_in_turn(503, 503, 200)
    transport = setting.both()
    receipt = capture(transport, event())
    settle(transport, receipt)
    assert receipt.accepted_by == ["saas"]
    (rejection,) = receipt.settlements
    assert rejection is not None
    assert rejection.reason == "http_400"
    assert rejection.detail.startswith("upstream: ")


def test_a_best_effort_destination_never_delays_a_receipt(setting: Setting) -> None:
    setting.saas_server.respond(503)
    saas = setting.destination("saas", required=False)
    transport = setting.transport(setting.destination("upstream"), saas)
    receipt = capture(transport, event())
    settle(transport, receipt)
    assert receipt.settlements == [None]
    assert receipt.accepted_by == ["upstream"]


def test_statsd_items_are_dropped_by_type_from_a_copy(setting: Setting) -> None:
    transport = setting.both()
    # The data category of an item plays no part: only its own type does.
    session = make_item("session", b"{}", data_category="statsd")
    envelope = event("e" * 32, STATSD, session)
    settle(transport, capture(transport, envelope))
    assert types_of(setting.upstream_server) == [["event", "session"]]
    assert [item.type for item in envelope.items] == ["event", "statsd", "session"]


def test_saas_gets_the_whole_envelope_when_upstream_is_filtered(setting: Setting) -> None:
    transport = setting.both()
    settle(transport, capture(transport, event("e" * 32, STATSD)))
    assert types_of(setting.saas_server) == [["event", "statsd"]]


def test_upstream_gets_statsd_items_when_its_metrics_are_enabled(setting: Setting) -> None:
    upstream = setting.destination("upstream", drop_items=frozenset())
    transport = setting.transport(upstream, setting.destination("saas"))
    settle(transport, capture(transport, event("e" * 32, STATSD)))
    assert types_of(setting.upstream_server) == [["event", "statsd"]]


def test_an_envelope_left_empty_is_not_sent(setting: Setting) -> None:
    transport = setting.transport(setting.destination("upstream"))
    receipt = capture(transport, build(None, [STATSD]), sampling_key="t/0/1")
    assert (receipt.drops, receipt.settlements) == (1, [])
    assert receipt.accepted_by == []
    drive_for(transport.run_once, 0.05)
    assert setting.upstream_server.requests == []
    transport.flush(1)
    assert setting.metrics.total("capture.filtered", destination="upstream") == 1


def test_what_one_destination_drops_the_other_gets_with_all_that_belongs_to_it(
    setting: Setting,
) -> None:
    whole = build(
        "e" * 32,
        [
            make_item("transaction", b"{}"),
            make_item("profile", b"{}"),
            make_item("attachment", b"x"),
            make_item("session", b"{}"),
        ],
    )
    upstream = setting.destination("upstream", drop_items=frozenset({"transaction"}))
    transport = setting.transport(upstream, setting.destination("saas"))
    settle(transport, capture(transport, whole))
    assert types_of(setting.upstream_server) == [["session"]]
    assert types_of(setting.saas_server) == [["transaction", "profile", "attachment", "session"]]


@pytest.mark.parametrize("saas_rate", [0.0, 1.0])
def test_an_envelope_that_no_destination_takes_is_dropped_and_one_that_any_takes_is_not(
    setting: Setting, saas_rate: float
) -> None:
    no_statsd = setting.destination("saas", drop_items=frozenset({"statsd"}))
    transport = setting.transport(setting.destination("upstream"), no_statsd)
    transport.change(saas_rate, True)
    receipt = capture(transport, build(None, [STATSD]), sampling_key="t/0/1")
    assert (receipt.drops, receipt.settlements) == (1, [])
    settled = capture(transport, event("e" * 32, STATSD))
    settle(transport, settled)
    assert settled.drops == 0


def test_without_any_destination_a_receipt_settles_at_once(setting: Setting) -> None:
    assert capture(setting.transport(), event()).settlements == [None]
    sampled_out = setting.transport(None, setting.destination("saas"), saas_sample_rate=0.0)
    assert capture(sampled_out, event()).settlements == [None]


@pytest.mark.pure
def test_an_exception_in_upstream_does_not_reach_saas(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = setting.both()
    upstream = transport._upstream
    monkeypatch.setattr(upstream, "send", broken_send)
    receipt = RecordedReceipt()
    with pytest.raises(LookupError):  # our own bug: upstream is required, so it must be seen
        transport.capture(event(), receipt, 0, sampling_key="k")
    drive_until(transport.run_once, lambda: receipt.accepted_by == ["saas"])
    assert receipt.settlements == []


@pytest.mark.pure
def test_an_exception_in_a_best_effort_destination_costs_only_its_copy(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = setting.destination("upstream", required=False)
    transport = setting.transport(upstream, setting.destination("saas"))
    monkeypatch.setattr(upstream, "send", broken_send)
    receipt = capture(transport, event())
    settle(transport, receipt)
    assert receipt.accepted_by == ["saas"]
    assert setting.metrics.total("capture.dropped", reason="internal_error") == 1


def test_a_redelivery_gets_the_same_sampling_decision(setting: Setting) -> None:
    taken = []
    for _ in range(2):
        transport = setting.transport(None, setting.destination("saas"), saas_sample_rate=0.3)
        receipts = [capture(transport, event(event_id)) for event_id in event_ids(300)]
        settle(transport, *receipts)
        taken.append([bool(each.accepted_by) for each in receipts])
    assert taken[0] == taken[1]
    assert 50 < sum(taken[0]) < 130
    # Another process decides alike: by the CRC-32 of the key, which no run changes.
    expected = [zlib.crc32(each.encode()) / 2**32 < 0.3 for each in event_ids(300)]
    assert taken[0] == expected


@pytest.mark.pure
def test_the_upstream_is_asked_before_saas(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    send = Destination.send

    def noted(destination: Destination, *args: Any) -> None:
        asked.append(destination.name)
        send(destination, *args)

    monkeypatch.setattr(Destination, "send", noted)
    transport = setting.both()
    assert [status.name for status in transport.statuses()] == ["upstream", "saas"]
    receipt = capture(transport, event())
    settle(transport, receipt)
    assert sorted(receipt.accepted_by) == ["saas", "upstream"]
    assert asked == ["upstream", "saas"]


def test_a_destination_that_accepted_before_is_skipped(setting: Setting) -> None:
    transport = setting.both()
    receipt = capture(transport, event(), skip={"upstream"})
    settle(transport, receipt)
    assert receipt.accepted_by == ["saas"]
    assert setting.upstream_server.requests == []
    assert capture(transport, event(), skip=["upstream", "saas"]).settlements == [None]


@pytest.mark.timed
def test_flush_shares_one_deadline(setting: Setting) -> None:
    setting.upstream_server.respond(Reply(delay_s=20))
    setting.saas_server.respond(Reply(delay_s=20))
    transport = setting.both()
    capture(transport, event())
    calls: list[tuple[int, float]] = []
    start = time.monotonic()
    transport.flush(1.5, lambda pending, timeout: calls.append((pending, timeout)))
    assert 1.4 < time.monotonic() - start < 2.9, "not one after the other"
    assert calls == [(2, 1.5)]


def test_flush_ends_when_all_is_delivered(setting: Setting) -> None:
    transport = setting.both()
    receipt = capture(transport, event())
    start = time.monotonic()
    transport.flush(20)
    assert time.monotonic() - start < 5
    assert receipt.settlements == [None]


def test_flush_keeps_its_deadline_while_a_thread_drives(setting: Setting) -> None:
    setting.upstream_server.respond(Reply(delay_s=20))
    transport = setting.transport(setting.destination("upstream"))
    transport.start_thread()
    transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
    start = time.monotonic()
    transport.flush(0.4)
    assert 0.3 < time.monotonic() - start < 5


def test_kill_ends_at_once(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer_fleet.capture.transport._TURN_S", 10.0)
    setting.upstream_server.respond(Reply(delay_s=20))
    transport = setting.transport(setting.destination("upstream"))
    receipt = capture(transport, event())
    transport.start_thread()
    setting.upstream_server.wait_until(lambda: bool(setting.upstream_server._requests))
    start = time.monotonic()
    transport.kill()
    transport.flush(10)
    assert time.monotonic() - start < 5, "it waited for the turn that was under way"
    assert receipt.settlements == []
    transport.run_once(0.1)
    transport.kill()


def test_kill_is_possible_from_within_a_turn(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = setting.transport(setting.destination("upstream"))
    receipt = RecordedReceipt()
    monkeypatch.setattr(receipt, "done", lambda *_: transport.kill())
    transport.capture(event(), receipt, 0, sampling_key="k")
    drive_until(transport.run_once, lambda: setting.loop.is_closed)
    transport.run_once(0.1)


def test_a_readable_pipe_ends_the_wait(setting: Setting) -> None:
    transport = setting.both()
    reader, writer = os.pipe()
    try:
        transport.register(reader, lambda _mask: None)
        timer = threading.Timer(0.1, os.write, (writer, b"x"))
        timer.start()
        start = time.monotonic()
        transport.run_once(10)
        assert time.monotonic() - start < 5
    finally:
        os.close(reader)
        os.close(writer)


def test_health_is_that_of_all_destinations(setting: Setting) -> None:
    setting.saas_server.respond(403)
    transport = setting.both()
    assert transport.is_healthy()
    capture(transport, event())
    drive_until(transport.run_once, lambda: not transport.is_healthy())
    assert {each.name: each.state for each in transport.statuses()} == {
        "upstream": "open",
        "saas": "paused",
    }


def test_an_sdk_envelope_goes_to_both(setting: Setting) -> None:
    transport = setting.both()
    transport.start_thread()
    client = sentry_sdk.Client(dsn="http://k@127.0.0.1:9/1", transport=transport)
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        event_id = sentry_sdk.capture_message("from ourselves")
    client.flush(timeout=10)
    for server in (setting.upstream_server, setting.saas_server):
        (envelope,) = server.envelopes
        assert envelope.event_id == event_id
        assert orjson.loads(envelope.items[0].payload)["message"] == "from ourselves"
    assert setting.metrics.total("internal.captured.events.envelopes") == 1


def test_a_flush_waits_for_an_own_event_that_is_about_to_be_sent(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = setting.both()
    flush = threading.Thread(target=transport.flush, args=(10,), daemon=True)
    waited: list[bool] = []

    def send(*args: Any) -> None:
        if not waited:
            flush.start()
            flush.join(0.1)
            waited.append(flush.is_alive())
        real_send(*args)

    real_send = transport._send
    monkeypatch.setattr(transport, "_send", send)
    transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
    transport.run_once(0)
    flush.join(10)
    assert waited == [True]
    assert len(setting.upstream_server.requests) == 1


def test_an_unsafe_own_event_does_not_go_to_saas(setting: Setting) -> None:
    transport = setting.both()
    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("_unsafe", True)
        transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
    transport.flush(10)
    assert len(setting.upstream_server.requests) == 1
    assert setting.saas_server.requests == []
    assert setting.metrics.total("internal.uncaptured.events.relay", reason="unsafe") == 1


def test_an_own_event_that_begins_in_capture_does_not_go_to_saas(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = setting.both()
    receipt = RecordedReceipt()

    def captures(_number: int, _rejection: object) -> None:
        transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
        receipt.settlements.append(None)

    monkeypatch.setattr(receipt, "done", captures)
    transport.capture(event(), receipt, 0, sampling_key="k", skip=["saas"])
    settle(transport, receipt)
    transport.flush(10)
    assert setting.saas_server.requests == []
    assert len(setting.upstream_server.requests) == 2


@pytest.mark.pure
def test_an_error_while_capturing_does_not_recurse(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = setting.both()
    own = SdkEnvelope(items=[SdkItem(b"{}", type="event")])
    calls: list[int] = []

    def captures_again(*_args: object) -> None:
        calls.append(1)
        transport.capture_envelope(own)

    monkeypatch.setattr(transport._upstream, "send", captures_again)
    transport.capture_envelope(own)
    transport.run_once(0)
    assert calls == [1]
    assert setting.metrics.total("internal.lost_events", reason="recursion") == 1
    monkeypatch.undo()
    transport.capture_envelope(own)  # the guard is lifted again
    transport.flush(10)
    assert len(setting.upstream_server.requests) == 1


@pytest.mark.pure
def test_a_bug_never_reaches_the_code_that_logged_something(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = setting.both()
    monkeypatch.setattr(transport._upstream, "send", broken_send)
    transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
    transport.run_once(0)
    assert setting.metrics.total("internal.lost_events", reason="internal_sdk_error") == 1


def test_own_events_are_bounded_while_nothing_takes_them(setting: Setting) -> None:
    setting.upstream_server.respond(503)
    transport = setting.transport(setting.destination("upstream", connections=1))
    for _ in range(550):
        transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
    transport.run_once(0)
    for _ in range(550):
        transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))
    transport.run_once(0)
    assert [each.pending for each in transport.statuses()] == [1000]
    assert setting.metrics.total("internal.lost_events", reason="queue_overflow") == 100


def test_any_thread_may_capture_own_events(setting: Setting) -> None:
    transport = setting.transport(setting.destination("upstream"))

    def capture_many() -> None:
        for _ in range(100):
            transport.capture_envelope(SdkEnvelope(items=[SdkItem(b"{}", type="event")]))

    threads = [threading.Thread(target=capture_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    drive_until(transport.run_once, lambda: len(setting.upstream_server.requests) == 400)
    for thread in threads:
        thread.join()
    transport.flush(5)
    assert setting.metrics.total("internal.captured.events.upstream") == 400


def test_an_own_event_from_another_thread_ends_the_wait(setting: Setting) -> None:
    transport = setting.transport(setting.destination("upstream"))
    own = SdkEnvelope(items=[SdkItem(b"{}", type="event")])
    threading.Timer(0.1, transport.capture_envelope, (own,)).start()
    start = time.monotonic()
    while not setting.upstream_server.requests:
        transport.run_once(10.0)
    assert time.monotonic() - start < 5


def test_losses_in_the_sdk_are_reported_to_saas_only(setting: Setting) -> None:
    transport = setting.both()
    transport.record_lost_event("sample_rate", "transaction", quantity=3)
    transport.record_lost_event("sample_rate", "transaction")
    transport.flush(10)
    (envelope,) = setting.saas_server.envelopes
    report = orjson.loads(envelope.items[0].payload)
    assert envelope.items[0].type == "client_report"
    assert report["discarded_events"] == [
        {"reason": "sample_rate", "category": "transaction", "quantity": 4}
    ]
    assert setting.upstream_server.requests == []
    assert setting.metrics.total("internal.lost_events", category="transaction") == 4


LIMITED = Reply(429, {"X-Sentry-Rate-Limits": "300:error:organization"})


def test_what_one_of_two_holds_is_sent_again_to_that_one_only(setting: Setting) -> None:
    setting.saas_server.respond(LIMITED)
    held_at = setting.destination("saas", holds=True)
    transport = setting.transport(setting.destination("upstream", holds=True), held_at)
    receipt = capture(transport, event())
    drive_until(transport.run_once, lambda: bool(receipt.holds))
    (held,) = receipt.holds
    assert (held.kind, held.destination, held.done) == ("limited", "saas", ["upstream"])
    assert receipt.settlements == []
    setting.saas_server.respond(200)
    # Another worker knows nothing of the limit.
    fresh = setting.transport(setting.destination("upstream"), setting.destination("saas"))
    again = capture(fresh, event(), held=Held(*held.packed()), skip=held.done)
    settle(fresh, again)
    assert again.settlements == [None]
    assert len(setting.upstream_server.requests) == 1
    assert len(setting.saas_server.envelopes) == 1


def test_a_rejection_by_one_is_remembered_while_the_other_holds(setting: Setting) -> None:
    setting.upstream_server.respond(400)
    setting.saas_server.respond(LIMITED)
    destinations = (setting.destination(name, holds=True) for name in ("upstream", "saas"))
    transport = setting.transport(*destinations)
    receipt = capture(transport, event())
    drive_until(transport.run_once, lambda: bool(receipt.holds))
    (held,) = receipt.holds
    setting.saas_server.respond(200)
    fresh = setting.transport(setting.destination("upstream"), setting.destination("saas"))
    again = capture(fresh, event(), held=Held(*held.packed()), skip=held.done)
    settle(fresh, again)
    (rejection,) = again.settlements
    assert rejection is not None
    assert rejection.reason == "http_400"
    assert len(setting.upstream_server.requests) == 1


def test_a_drain_of_two_destinations_gives_up_what_one_of_them_keeps(setting: Setting) -> None:
    setting.saas_server.respond(503)
    transport = setting.both()
    receipt = capture(transport, event())
    drive_until(transport.run_once, lambda: bool(setting.saas_server.requests))
    receipt.draining = True
    transport.drain(begins=True)
    drive_until(transport.run_once, lambda: receipt.given_up_times == 1)
    assert receipt.settlements == []
    assert receipt.accepted_by == ["upstream"]


# Routes


@pytest.fixture
def routed() -> Iterator[tuple[dict[str, ScriptedReceiver], MultiplexingTransport]]:
    """All others to one server; project 7's to a server of its own, and 8's to three in all."""
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(ScriptedReceiver())
            for name in ("upstream", "saas", "upstream:7", "saas:8")
        }
        made = {
            name: DestinationOptions(name, Dsn.parse(server.dsn()))
            for name, server in servers.items()
        }
        without_logs = replace(made["upstream:7"], drop_items=frozenset({"log"}))
        transport = build_transport(
            CaptureOptions(
                made["upstream"],
                made["saas"],
                saas_sample_rate=1.0,
                projects={
                    7: (without_logs, None),
                    8: (made["upstream:7"], made["saas:8"]),
                },
            )
        )
        yield servers, transport
        transport.kill()


@pytest.mark.parametrize(
    ("project_id", "destinations"),
    [
        (None, {"upstream", "saas"}),
        (7, {"upstream:7"}),
        (8, {"upstream:7", "saas:8"}),
        (9, {"upstream", "saas"}),
    ],
)
def test_an_envelope_goes_to_the_destinations_of_its_project_only(
    routed: tuple[dict[str, ScriptedReceiver], MultiplexingTransport],
    project_id: int | None,
    destinations: set[str],
) -> None:
    servers, transport = routed
    receipt = capture(transport, event()._replace(project_id=project_id))
    settle(transport, receipt)
    assert receipt.settlements == [None]
    assert {name for name, server in servers.items() if server.requests} == destinations
    assert sorted(receipt.accepted_by) == sorted(each.partition(":")[0] for each in destinations)
    assert {each.name for each in transport.statuses() if each.accepted} == destinations


def test_items_are_dropped_by_project_where_projects_share_a_destination(
    routed: tuple[dict[str, ScriptedReceiver], MultiplexingTransport],
) -> None:
    servers, transport = routed
    logs = build(None, [make_item("log", b"{}")])
    dropped = capture(transport, logs._replace(project_id=7), sampling_key="k")
    assert (dropped.drops, dropped.settlements) == (1, [])
    taken = capture(transport, logs._replace(project_id=8), sampling_key="k", skip=("saas",))
    settle(transport, taken)
    assert [len(server.requests) for server in servers.values()] == [0, 0, 1, 0]


def test_what_one_destination_of_a_project_has_accepted_is_not_sent_there_again(
    routed: tuple[dict[str, ScriptedReceiver], MultiplexingTransport],
) -> None:
    servers, transport = routed
    receipt = capture(transport, event()._replace(project_id=8), skip=("upstream",))
    settle(transport, receipt)
    assert receipt.accepted_by == ["saas"]
    assert [len(server.requests) for server in servers.values()] == [0, 0, 0, 1]
