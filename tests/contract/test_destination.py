"""The promises of a destination, against a real HTTP server."""

from __future__ import annotations

import random
import socket
import threading
from pathlib import Path

import orjson
import pytest
import structlog.testing

from consumer_fleet import metrics
from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.envelope import Envelope, Item, build, make_item, parse
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.metrics.recorder import Recorder
from tests.support.capturing import (
    CountedMetrics,
    delivery_loop,
    drive_for,
    drive_until,
    event,
    event_ids,
    has_retried,
    make_destination,
    send,
)
from tests.support.certificate import server_context
from tests.support.clock import ManualClock
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

Outcomes = list[RejectedMessage | None]


def types_of(envelope: Envelope) -> list[str]:
    return [item.type for item in envelope.items]


def test_each_envelope_is_delivered_once(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    destination = make_destination(loop, receiver.dsn())
    outcomes: Outcomes = []
    for event_id in event_ids(500):
        send(destination, event(event_id), outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 500)
    assert outcomes == [None] * 500
    assert sorted(str(each.event_id) for each in receiver.envelopes) == event_ids(500)
    assert destination.pending == 0
    assert destination.status().accepted == 500


def test_connections_are_reused_and_bounded(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    destination = make_destination(loop, receiver.dsn(), connections=3)
    outcomes: Outcomes = []
    for event_id in event_ids(100):
        send(destination, event(event_id), outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 100)
    assert len({request.connection for request in receiver.requests}) <= 3


def test_a_request_is_what_relay_expects(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    destination = make_destination(loop, receiver.dsn(project=7, key="abc"))
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    (request,) = receiver.requests
    assert request.path == "/api/7/envelope/"
    assert request.headers["content-type"] == "application/x-sentry-envelope"
    assert "sentry_key=abc" in request.headers["x-sentry-auth"]
    assert request.headers["user-agent"].startswith("consumer-fleet/")
    assert "expect" not in request.headers
    assert "content-encoding" not in request.headers


def test_the_dsn_in_an_envelope_is_never_followed(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    with ScriptedReceiver() as stranger:
        destination = make_destination(loop, receiver.dsn(key="ours"))
        outcomes: Outcomes = []
        header = (
            b'{"dsn":"%s","sent_at":"2001-01-01T00:00:00Z"}' % stranger.dsn(key="theirs").encode()
        )
        send(destination, parse(header + b'\n{"type":"event"}\n{}\n'), outcomes.append)
        drive_until(loop.run_once, lambda: bool(outcomes))
        assert stranger.requests == []
    sent = orjson.loads(receiver.requests[0].body.split(b"\n")[0])
    assert sent["dsn"] == receiver.dsn(key="ours")
    assert b"theirs" not in receiver.requests[0].body


def test_sent_at_is_the_time_of_sending(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    now = [1_700_000_000.9]
    destination = make_destination(loop, receiver.dsn(), wall_clock=lambda: now[0])
    outcomes: Outcomes = []
    for moment in (1_700_000_000.9, 1_700_000_001.1):
        now[0] = moment
        send(destination, event(), outcomes.append)
        drive_until(loop.run_once, lambda: destination.pending == 0)
    sent = [orjson.loads(each.body.split(b"\n")[0])["sent_at"] for each in receiver.requests]
    assert sent == ["2023-11-14T22:13:20Z", "2023-11-14T22:13:21Z"]


def test_unknown_items_pass_byte_for_byte(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    seeded = random.Random(20)
    destination = make_destination(loop, receiver.dsn(), connections=1)
    outcomes: Outcomes = []
    sent = []
    for _ in range(40):
        items = [
            Item(
                b'{ "type":"new_%d" ,"length":%d,"big":123456789012345678901234567890,"f":1.50}'
                % (index, len(payload)),
                f"new_{index}",
                payload,
            )
            for index in range(seeded.randrange(1, 4))
            for payload in [seeded.randbytes(seeded.randrange(200))]
        ]
        envelope = Envelope(
            b'{"n": 1.0 , "n":18446744073709551617,"x":"\\u00e9"}', None, tuple(items)
        )
        sent.append(envelope)
        send(destination, envelope, outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 40)
    assert [request.envelope for request in receiver.requests] == sent
    rest = b',"n": 1.0 , "n":18446744073709551617,"x":"\\u00e9"}'
    assert all(request.body.split(b"\n")[0].endswith(rest) for request in receiver.requests)


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_bodies_are_compressed_as_asked(
    loop: DeliveryLoop, receiver: ScriptedReceiver, encoding: str
) -> None:
    if encoding == "br":
        pytest.importorskip("brotli")
    destination = make_destination(loop, receiver.dsn(), compression=encoding)
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    assert receiver.requests[0].headers["content-encoding"] == encoding
    assert receiver.envelopes == [event()]


@pytest.mark.parametrize(
    "trouble",
    [Reply(500), Reply(503), Reply(408), Reply(502), Reply(hang_up=True)],
    ids=["500", "503", "408", "502", "hang-up"],
)
def test_a_temporary_failure_is_retried(
    loop: DeliveryLoop, receiver: ScriptedReceiver, trouble: Reply
) -> None:
    receiver.respond_in_turn(trouble, trouble, 200)
    destination = make_destination(loop, receiver.dsn())
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    assert outcomes == [None]
    assert len(receiver.envelopes) == 1
    assert destination.status().retried == 2


def test_an_unreachable_server_is_retried(loop: DeliveryLoop) -> None:
    with ScriptedReceiver() as gone:
        dsn = gone.dsn()
    destination = make_destination(loop, dsn)
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, has_retried(destination, 3))
    assert outcomes == []
    assert destination.ledger.ambiguous == 0  # nothing was sent, so nothing can be there twice


def test_a_lost_answer_is_counted_as_ambiguous(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver
) -> None:
    receiver.respond_in_turn(Reply(delay_s=30), 200)
    destination = make_destination(clocked_loop, receiver.dsn(), request_timeout_s=30)
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(clocked_loop.run_once, lambda: len(receiver.requests) == 1)
    clock.now += 30
    drive_until(clocked_loop.run_once, has_retried(destination, 1))
    clock.now += 1
    drive_until(clocked_loop.run_once, lambda: bool(outcomes))
    assert outcomes == [None]
    assert destination.ledger.ambiguous == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nX-Sentry-Rate-Limits: 60:err",
    ],
)
def test_a_cut_head_is_not_an_answer(loop: DeliveryLoop, head: bytes) -> None:
    answers = [head, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(64 * 1024)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        destination = make_destination(loop, f"http://k@127.0.0.1:{server.getsockname()[1]}/1")
        outcomes: Outcomes = []
        send(destination, event(), outcomes.append)
        drive_until(loop.run_once, lambda: bool(outcomes))
        assert outcomes == [None]
        assert destination.status().retried == 1
        assert destination.ledger.ambiguous == 1
        thread.join()


def test_after_five_failures_only_probes_are_sent(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver
) -> None:
    receiver.respond(503)
    destination = make_destination(clocked_loop, receiver.dsn(), connections=1)
    outcomes: Outcomes = []
    for event_id in event_ids(200):
        send(destination, event(event_id), outcomes.append)
    drive_until(clocked_loop.run_once, has_retried(destination, 5))
    for probes, wait_s in enumerate([0.05, 0.1, 0.2, 0.4]):
        clock.now += wait_s - 0.01
        drive_for(clocked_loop.run_once, 0.02)
        assert len(receiver.requests) == 5 + probes
        assert destination.status().state == "backing_off"
        assert "503" in destination.status().reason
        clock.now += 0.02
        drive_until(clocked_loop.run_once, has_retried(destination, 6 + probes))
    receiver.respond(200)
    clock.now += 1
    drive_until(clocked_loop.run_once, lambda: len(outcomes) == 200)
    assert outcomes == [None] * 200
    assert destination.status().state == "open"


def test_retry_after_of_an_overloaded_server_is_honoured(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    receiver.respond_in_turn(Reply(503, {"Retry-After": "1"}), 200)
    destination = make_destination(loop, receiver.dsn())
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    first, second = receiver.requests
    assert second.received_at_s - first.received_at_s >= 0.99


@pytest.mark.parametrize("status", [401, 403, 404, 405, 302, 307])
def test_a_refusal_pauses_and_resumes_by_itself(
    loop: DeliveryLoop, receiver: ScriptedReceiver, status: int
) -> None:
    receiver.respond(Reply(status, body=b'{"detail":"no such key: 0c0ffee0"}'))
    destination = make_destination(loop, receiver.dsn(key="0c0ffee0"), connections=4)
    outcomes: Outcomes = []
    with structlog.testing.capture_logs() as logs:
        for event_id in event_ids(50):
            send(destination, event(event_id), outcomes.append)
        drive_until(loop.run_once, lambda: len(receiver.requests) >= 5)  # the last is a probe
        assert destination.status().state == "paused"
        assert outcomes == []
        receiver.respond(200)
        drive_until(loop.run_once, lambda: len(outcomes) == 50)
    assert outcomes == [None] * 50
    paused = [entry for entry in logs if entry["event"] == "destination_paused"]
    assert len(paused) == 1
    assert paused[0]["status"] == status
    assert paused[0]["log_level"] == "error"
    assert paused[0]["what_to_do"]
    assert "***@127.0.0.1" in paused[0]["dsn"]
    assert [entry["event"] for entry in logs].count("destination_resumed") == 1
    assert "0c0ffee0" not in repr(logs)


def test_a_web_page_is_no_acceptance_and_pauses(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    """A login page, a parked domain or the wrong port answers 200 to everything."""
    page = Reply(200, {"Content-Type": "text/html"}, b"\n<html><h1>Welcome</h1></html>")
    receiver.respond(page)
    destination = make_destination(loop, receiver.dsn(), connections=4)
    outcomes: Outcomes = []
    with structlog.testing.capture_logs() as logs:
        for event_id in event_ids(20):
            send(destination, event(event_id), outcomes.append)
        drive_until(loop.run_once, lambda: len(receiver.requests) >= 6)
        assert destination.status().state == "paused"
        assert outcomes == []
        # Like Django's answers without a body.
        receiver.respond(Reply(200, {"Content-Type": "text/html"}, b""))
        drive_until(loop.run_once, lambda: len(outcomes) == 20)
    (paused,) = [entry for entry in logs if entry["event"] == "destination_paused"]
    assert paused["status"] == 200
    assert "Welcome" in paused["answer"]
    assert "web page" in paused["what_to_do"]


def test_a_pause_is_counted_again_with_each_probe_that_is_refused(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    """An alert on the growth stays on for as long as the pause."""
    metrics = CountedMetrics()
    receiver.respond(lambda _: Reply(200 if len(receiver.requests) >= 3 else 401))
    destination = make_destination(loop, receiver.dsn(), incr=metrics.incr)
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    assert destination.status().state == "open"
    destination.ledger.report()
    assert metrics.total("capture.paused", destination="upstream", status="401") == 3


def test_while_paused_one_envelope_at_a_time_is_tried(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver
) -> None:
    receiver.respond(403)
    destination = make_destination(clocked_loop, receiver.dsn(), connections=8)
    for event_id in event_ids(100):
        send(destination, event(event_id), lambda _: None)
    for tried, wait_s in ((8, 0.5), (9, 1.0), (10, 2.0)):
        drive_until(clocked_loop.run_once, has_retried(destination, tried))
        clock.now += wait_s - 0.01
        drive_for(clocked_loop.run_once, 0.02)
        assert len(receiver.requests) == tried
        clock.now += 0.02


def test_redirects_are_not_followed(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    with ScriptedReceiver() as elsewhere:
        target = f"http://127.0.0.1:{elsewhere.port}/api/1/envelope/"
        receiver.respond(Reply(308, {"Location": target}))
        destination = make_destination(loop, receiver.dsn())
        send(destination, event(), lambda _: None)
        drive_until(loop.run_once, lambda: destination.status().state == "paused")
        drive_for(loop.run_once, 0.1)
        assert elsewhere.requests == []


@pytest.mark.parametrize("status", [400, 411, 413, 415, 422])
def test_a_rejection_stops_nothing_else(
    loop: DeliveryLoop, receiver: ScriptedReceiver, status: int
) -> None:
    bad = "b" * 32

    def script(request: ReceivedRequest) -> Reply:
        is_bad = request.envelope.event_id == bad
        return Reply(status, body=b'{"detail":"bad\n thing"}') if is_bad else Reply()

    receiver.respond(script)
    destination = make_destination(loop, receiver.dsn(), connections=1)
    rejected: Outcomes = []
    accepted: Outcomes = []
    send(destination, event("a" * 32), accepted.append)
    send(destination, event(bad), rejected.append)
    send(destination, event("c" * 32), accepted.append)
    drive_until(loop.run_once, lambda: destination.pending == 0)
    assert accepted == [None, None]
    (rejection,) = rejected
    assert rejection is not None
    assert rejection.reason == f"http_{status}"
    assert rejection.detail == 'upstream: {"detail":"bad thing"}'


def test_a_long_answer_is_cut(loop: DeliveryLoop, receiver: ScriptedReceiver) -> None:
    receiver.respond_in_turn(Reply(400, body=b"x" * 3_000_000), 200)
    destination = make_destination(loop, receiver.dsn(), connections=1)
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 2)
    assert outcomes[0] is not None
    assert outcomes[0].reason == "http_400"
    assert len(outcomes[0].detail) < 400
    assert outcomes[1] is None


def test_a_partial_429_resends_only_the_limited_items(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    receiver.respond_in_turn(
        Reply(429, {"X-Sentry-Rate-Limits": "0.3:attachment:organization:quota, 60:unheard_of"}),
        200,
    )
    destination = make_destination(loop, receiver.dsn())
    outcomes: Outcomes = []
    attachment = make_item("attachment", b"\n\0data")
    whole = event("d" * 32, attachment, make_item("session", b"{}"))
    send(destination, whole, outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    assert outcomes == [None]
    first, second = receiver.requests
    assert types_of(first.envelope) == ["event", "attachment", "session"]
    assert second.envelope.items == (attachment,)
    assert second.envelope.event_id == "d" * 32
    assert second.received_at_s - first.received_at_s >= 0.29
    assert len(whole.items) == 3  # what the caller gave is as it was


def test_a_limited_event_takes_its_attachments_along(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    receiver.respond_in_turn(Reply(429, {"X-Sentry-Rate-Limits": "0.2:error:key"}), 200)
    destination = make_destination(loop, receiver.dsn())
    outcomes: Outcomes = []
    more = [make_item("attachment", b"1"), make_item("session", b"{}"), make_item("profile", b"{}")]
    send(destination, event("d" * 32, *more), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    assert types_of(receiver.requests[1].envelope) == ["event", "attachment", "profile"]


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "1"}, {"X-Sentry-Rate-Limits": "0.9::organization"}, {"Retry-After": "0.9"}],
)
def test_a_429_that_names_nothing_holds_everything(
    loop: DeliveryLoop, receiver: ScriptedReceiver, headers: dict[str, str]
) -> None:
    receiver.respond_in_turn(Reply(429, headers), 200)
    destination = make_destination(loop, receiver.dsn(), connections=1)
    outcomes: Outcomes = []
    send(destination, event("1" * 32, make_item("session", b"{}")), outcomes.append)
    send(destination, build(None, [make_item("check_in", b"{}")]), outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 2)
    first, *rest = receiver.requests
    assert len(rest) == 2
    assert all(each.received_at_s - first.received_at_s >= 0.89 for each in rest)
    assert ["event", "session"] in [types_of(each.envelope) for each in rest]


def test_a_429_without_headers_means_a_minute(receiver: ScriptedReceiver) -> None:
    moment = [1000.0]
    receiver.respond_in_turn(429, 200)
    with delivery_loop(lambda: moment[0]) as loop:
        destination = make_destination(loop, receiver.dsn())
        outcomes: Outcomes = []
        send(destination, event(), outcomes.append)
        drive_until(loop.run_once, lambda: destination.status().state == "throttled")
        moment[0] += 59.9
        drive_for(loop.run_once, 0.1)
        assert outcomes == []
        moment[0] += 0.2
        drive_until(loop.run_once, lambda: bool(outcomes))
        assert outcomes == [None]


def test_other_categories_flow_past_a_limited_one(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    receiver.respond_in_turn(Reply(200, {"X-Sentry-Rate-Limits": "60:error:organization"}), 200)
    destination = make_destination(loop, receiver.dsn(), connections=1)
    outcomes: Outcomes = []
    send(destination, event("1" * 32), outcomes.append)
    send(destination, event("2" * 32), outcomes.append)
    send(destination, build("3" * 32, [make_item("transaction", b"{}")]), outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 2)
    assert [each.event_id for each in receiver.envelopes] == ["1" * 32, "3" * 32]
    assert destination.pending == 1
    assert destination.status().state == "throttled"


def test_an_endless_429_is_not_asked_in_a_hot_loop(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver
) -> None:
    receiver.respond(Reply(429, {"X-Sentry-Rate-Limits": "0:error"}))
    destination = make_destination(clocked_loop, receiver.dsn())
    send(destination, event(), lambda _: None)
    for asked, wait_s in enumerate([0.05, 0.1, 0.2, 0.4], 1):
        drive_until(clocked_loop.run_once, has_retried(destination, asked))
        clock.now += wait_s - 0.01
        drive_for(clocked_loop.run_once, 0.02)
        assert len(receiver.requests) == asked
        clock.now += 0.02
    assert destination.pending == 1


def test_a_best_effort_destination_drops_beyond_its_budget_and_counts_each(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    metrics = CountedMetrics()
    receiver.respond(503)
    destination = make_destination(
        loop, receiver.dsn(), required=False, best_effort_budget_bytes=1000, incr=metrics.incr
    )
    outcomes: Outcomes = []
    with structlog.testing.capture_logs() as logs:
        for _ in range(10):
            send(destination, build(None, [make_item("event", b"x" * 250)]), outcomes.append)
    assert [outcome.reason for outcome in outcomes if outcome] == ["over_budget"] * 7
    assert destination.pending == 3
    assert destination.status().dropped == 7
    destination.ledger.report()
    assert metrics.total("capture.dropped", destination="upstream", reason="over_budget") == 7
    assert [entry["event"] for entry in logs] == ["envelopes_dropped"]
    receiver.respond(200)
    drive_until(loop.run_once, lambda: destination.pending == 0)
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: len(outcomes) == 11)
    assert outcomes[-1] is None  # what was delivered made room again


def test_a_best_effort_rejection_is_counted_as_dropped(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    metrics = CountedMetrics()
    receiver.respond(413)
    destination = make_destination(loop, receiver.dsn(), required=False, incr=metrics.incr)
    send(destination, event(), lambda _: None)
    drive_until(loop.run_once, lambda: destination.pending == 0)
    destination.ledger.report()
    assert metrics.total("capture.dropped", reason="http_413") == 1


def test_a_ca_file_of_the_users_is_trusted(loop: DeliveryLoop, certificate: Path) -> None:
    with ScriptedReceiver(server_context(certificate)) as receiver:
        destination = make_destination(loop, receiver.dsn(), ca_file=certificate)
        outcomes: Outcomes = []
        send(destination, event(), outcomes.append)
        drive_until(loop.run_once, lambda: bool(outcomes))
        assert receiver.envelopes == [event()]
        assert receiver.requests[0].headers["content-encoding"] == "gzip"


def test_an_unknown_certificate_gets_nothing(loop: DeliveryLoop, certificate: Path) -> None:
    with ScriptedReceiver(server_context(certificate)) as receiver:
        destination = make_destination(loop, receiver.dsn())
        send(destination, event(), lambda _: None)
        drive_until(loop.run_once, has_retried(destination, 5))
        assert "certificate" in destination.status().reason
        assert receiver.requests == []
        assert destination.pending == 1


def test_the_environments_proxy_is_used(
    loop: DeliveryLoop, receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.setenv("no_proxy", "")
    destination = make_destination(loop, "http://key@sentry.invalid/1")
    outcomes: Outcomes = []
    send(destination, event(), outcomes.append)
    drive_until(loop.run_once, lambda: bool(outcomes))
    assert receiver.requests[0].path == "http://sentry.invalid/api/1/envelope/"


def test_the_time_of_some_requests_is_measured_where_metrics_are_sent(
    loop: DeliveryLoop, receiver: ScriptedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []

    def distribution(key: str, value: float, *, tags: dict[str, str]) -> None:
        assert (key, tags) == ("capture.request_s", {"destination": "upstream"})
        measured.append(value)

    monkeypatch.setattr(metrics, "distribution", distribution)
    receiver.respond(Reply(delay_s=0.02))
    for is_sent in (False, True):
        monkeypatch.setattr(Recorder, "sends", is_sent)
        destination = make_destination(loop, receiver.dsn(), connections=8)
        for event_id in event_ids(40):
            send(destination, event(event_id), lambda _rejection: None)
        while destination.pending:
            loop.run_once(0.05)
        assert bool(measured) is is_sent
    assert all(0.02 <= each < 10 for each in measured)
    assert len(measured) < 20, "not each of them"
