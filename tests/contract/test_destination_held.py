"""What a destination gives back: limited or failing alone, or not to be sent at a stop."""

from __future__ import annotations

import time
from typing import Any

import pytest

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.capture.destination import Destination
from consumer_fleet.capture.envelope import Envelope, build, make_item
from consumer_fleet.capture.held import Held
from tests.support.capturing import (
    RecordedReceipt,
    delivery_loop,
    drive_for,
    drive_until,
    event,
    has_retried,
    make_destination,
)
from tests.support.clock import ManualClock
from tests.support.scripted_receiver import ReceivedRequest, Reply, ScriptedReceiver

LIMITED = Reply(429, {"X-Sentry-Rate-Limits": "300:transaction:organization"})


@pytest.fixture
def destination(loop: DeliveryLoop, receiver: ScriptedReceiver) -> Destination:
    return make_destination(loop, receiver.dsn(), holds=True)


@pytest.fixture
def clocked(clocked_loop: DeliveryLoop, receiver: ScriptedReceiver) -> Destination:
    """A destination whose waits end only when the test moves ``clock``."""
    return make_destination(clocked_loop, receiver.dsn(), holds=True)


def transaction() -> Envelope:
    return build("c" * 32, [make_item("transaction", b"{}")])


def send(to: Destination, envelope: Envelope, held: Held | None = None) -> RecordedReceipt:
    receipt = RecordedReceipt()
    to.send(envelope, receipt, 0, held)
    return receipt


def limits_transactions(request: ReceivedRequest) -> Reply:
    return LIMITED if b'"transaction"' in request.body else Reply()


def fails_one(request: ReceivedRequest) -> Reply:
    return Reply(500, body=b'{"detail":"boom"}') if b"f" * 32 in request.body else Reply()


def test_what_a_long_limit_on_its_category_keeps_is_given_back_and_others_pass(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond(limits_transactions)
    first = send(destination, transaction())
    drive_until(loop.run_once, lambda: bool(first.holds))
    second, third = send(destination, transaction()), send(destination, event())
    drive_until(loop.run_once, lambda: bool(third.settlements))
    assert third.settlements == [None]
    assert len(receiver.requests) == 2, "the second one was not sent at all"
    for receipt in (first, second):
        (held,) = receipt.holds
        assert (held.kind, held.destination) == ("limited", "upstream")
        assert "300:transaction" in held.answer
        assert 290 < held.due_s - time.time() <= 301
        assert receipt.settlements == []
    assert destination.pending == 0


def test_a_limit_that_ends_soon_is_waited_for(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond_in_turn(Reply(429, {"X-Sentry-Rate-Limits": "0.2:transaction"}), 200)
    receipt = send(destination, transaction())
    drive_until(loop.run_once, lambda: bool(receipt.settlements))
    assert (receipt.settlements, receipt.holds) == ([None], [])


@pytest.mark.parametrize("limits", ["300::organization", "300:transaction, 300::organization"])
def test_a_limit_on_everything_keeps_all_of_it_here(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination, limits: str
) -> None:
    receiver.respond(Reply(429, {"X-Sentry-Rate-Limits": limits}))
    receipts = [send(destination, transaction()), send(destination, event())]
    drive_until(loop.run_once, has_retried(destination, 2))
    assert [each.holds for each in receipts] == [[], []]
    assert destination.pending == 2


def test_a_limit_on_unknown_categories_is_no_reason_to_keep_others_back(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond(Reply(429, {"X-Sentry-Rate-Limits": "300:new_thing"}))
    receipt = send(destination, transaction())
    drive_until(loop.run_once, lambda: bool(receipt.holds))
    assert receipt.holds[0].kind == "limited"


def test_one_that_fails_alone_is_given_back_after_three_failures(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver, clocked: Destination
) -> None:
    receiver.respond(fails_one)
    bad = send(clocked, event("f" * 32))
    drive_until(clocked_loop.run_once, has_retried(clocked, 1))
    good = send(clocked, event())
    drive_until(clocked_loop.run_once, lambda: good.settlements == [None])
    clock.now += 1
    drive_until(clocked_loop.run_once, has_retried(clocked, 2))
    assert not bad.holds
    clock.now += 1
    drive_until(clocked_loop.run_once, lambda: bool(bad.holds))
    assert len(receiver.requests) == 4
    (held,) = bad.holds
    assert (held.kind, held.answer, held.due_s) == ("failing", 'HTTP 500: {"detail":"boom"}', 0.0)
    again = send(clocked, event("f" * 32), held)
    drive_until(clocked_loop.run_once, lambda: bool(again.holds))
    assert len(receiver.requests) == 5, "one attempt is enough for one that was held before"


FAILED_ALONE = Held("failing", "upstream", 'HTTP 500: {"detail":"boom"}')


@pytest.mark.parametrize("answer", [Reply(500, body=b"other words"), Reply(403)])
def test_many_that_fail_as_they_did_alone_neither_slow_one_another_down_nor_stop_others(
    clocked_loop: DeliveryLoop, receiver: ScriptedReceiver, clocked: Destination, answer: Reply
) -> None:
    receiver.respond(lambda request: answer if b"f" * 32 in request.body else Reply())
    held = Held("failing", "upstream", f"HTTP {answer.status}: as before")
    bad = [send(clocked, event("f" * 32), held) for _ in range(50)]
    # After a backoff they would wait for probes: no time passes here.
    drive_until(clocked_loop.run_once, lambda: all(each.holds for each in bad))
    assert clocked.is_healthy
    assert len(receiver.requests) == 50


def test_one_that_was_held_and_fails_otherwise_shares_the_outage(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond(503)
    again = [send(destination, event(), FAILED_ALONE) for _ in range(6)]
    drive_until(loop.run_once, lambda: not destination.is_healthy)
    drive_until(loop.run_once, lambda: len(receiver.requests) >= 10)
    assert not any(each.holds for each in again), "a failure that is not its own"
    receiver.respond(200)
    drive_until(loop.run_once, lambda: all(each.settlements == [None] for each in again))


def test_while_nothing_else_is_accepted_a_failure_is_an_outage(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver, clocked: Destination
) -> None:
    good = send(clocked, event())
    drive_until(clocked_loop.run_once, lambda: bool(good.settlements))
    receiver.respond(503)
    bad = [send(clocked, event()) for _ in range(3)]
    for failures in (3, 6, *range(7, 15)):  # together until the backoff, then one at a time
        drive_until(clocked_loop.run_once, has_retried(clocked, failures))
        assert not any(each.holds for each in bad)
        clock.now += 20  # at most 15 s of backoff
    receiver.respond(200)
    drive_until(clocked_loop.run_once, lambda: all(each.settlements == [None] for each in bad))


def test_after_a_partial_429_only_the_rest_is_sent_again(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    whole = event("a" * 32, make_item("attachment", b"1"), make_item("session", b"{}"))
    receiver.respond_in_turn(Reply(429, {"X-Sentry-Rate-Limits": "60:attachment;session:key"}), 200)
    first = send(destination, whole)
    drive_until(loop.run_once, lambda: bool(first.holds))
    (held,) = first.holds
    assert held.left == {"upstream": [1, 2]}
    # Another worker knows nothing of the limit.
    with delivery_loop() as other_loop:
        other = make_destination(other_loop, receiver.dsn(), holds=True)
        again = send(other, whole, Held(*held.packed()))
        drive_until(other_loop.run_once, lambda: bool(again.settlements))
    assert [item.type for item in receiver.requests[-1].envelope.items] == ["attachment", "session"]


@pytest.mark.parametrize("options", [{"holds": False}, {"holds": True, "required": False}])
def test_nothing_is_given_back_where_that_is_off_or_the_destination_is_not_required(
    loop: DeliveryLoop, receiver: ScriptedReceiver, options: dict[str, Any]
) -> None:
    destination = make_destination(loop, receiver.dsn(), **options)
    receiver.respond(limits_transactions)
    receipt = send(destination, transaction())
    drive_until(loop.run_once, has_retried(destination, 1))
    assert (receipt.holds, destination.pending) == ([], 1)


@pytest.mark.parametrize(
    "reply", [Reply(503), Reply(403), Reply(429, {"X-Sentry-Rate-Limits": "300::organization"})]
)
def test_a_drain_waits_for_no_limit_backoff_or_pause(
    clocked_loop: DeliveryLoop, receiver: ScriptedReceiver, clocked: Destination, reply: Reply
) -> None:
    receiver.respond(reply)
    receipts = [send(clocked, event()) for _ in range(8)]
    drive_until(clocked_loop.run_once, lambda: len(receiver.requests) == 8)
    for receipt in receipts:
        receipt.draining = True
    clocked.drain(begins=True)
    drive_until(clocked_loop.run_once, lambda: all(each.given_up_times == 1 for each in receipts))
    assert clocked.pending == 0


def test_a_drain_ends_what_is_on_the_wire_and_starts_what_can_start(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    destination = make_destination(loop, receiver.dsn(), holds=True, connections=2)
    receiver.respond(Reply(delay_s=0.1))
    receipts = [send(destination, event()) for _ in range(6)]
    drive_until(loop.run_once, lambda: len(receiver.requests) >= 2)
    for receipt in receipts:
        receipt.draining = True
    destination.drain(begins=True)
    drive_until(loop.run_once, lambda: all(each.settlements == [None] for each in receipts))
    assert [each.given_up_times for each in receipts] == [0] * 6


def test_a_drain_of_some_leaves_the_others_where_they_are(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond(Reply(429, {"X-Sentry-Rate-Limits": "300::organization"}))
    gone, kept = send(destination, event()), send(destination, event())
    drive_until(loop.run_once, lambda: len(receiver.requests) == 2)
    gone.draining = True
    destination.drain(begins=True)
    drive_until(loop.run_once, lambda: gone.given_up_times == 1)
    assert kept.given_up_times == 0
    assert destination.pending == 1


def test_a_drain_also_gives_up_what_is_captured_after_it_has_begun(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond(Reply(429, {"X-Sentry-Rate-Limits": "300::organization"}))
    first = send(destination, event())
    drive_until(loop.run_once, lambda: len(receiver.requests) == 1)
    first.draining = True
    destination.drain(begins=True)
    drive_until(loop.run_once, lambda: first.given_up_times == 1)
    later = RecordedReceipt()
    later.draining = True
    destination.send(event(), later, 0)
    drive_until(loop.run_once, lambda: later.given_up_times == 1)
    destination.drain(begins=False)
    kept = send(destination, event())
    drive_for(loop.run_once, 0.2)
    assert (kept.given_up_times, destination.pending) == (0, 1)


# A worker that sends to destinations of other messages, too


@pytest.fixture
def sharing(loop: DeliveryLoop, receiver: ScriptedReceiver) -> Destination:
    return make_destination(loop, receiver.dsn(), holds=True, shares=True, connections=4)


@pytest.mark.parametrize("status", [503, 403])
def test_one_that_shares_gives_back_all_but_a_probe_while_it_takes_nothing(
    loop: DeliveryLoop, receiver: ScriptedReceiver, sharing: Destination, status: int
) -> None:
    receiver.respond(status)
    receipts = [send(sharing, event()) for _ in range(20)]
    drive_until(loop.run_once, lambda: sharing.pending <= 1)
    receiver.respond(200)
    drive_until(loop.run_once, lambda: sharing.pending == 0)
    held = [each.holds[0] for each in receipts if each.holds]
    assert {(each.kind, each.destination) for each in held} == {("unavailable", "upstream")}
    assert f"HTTP {status}" in held[-1].answer
    assert len(held) >= 15, "those that wait go back at once"
    again = send(sharing, event(), held[-1])
    drive_until(loop.run_once, lambda: bool(again.settlements))
    assert again.settlements == [None]


def test_one_that_shares_names_what_it_keeps_back_while_it_takes_nothing(
    loop: DeliveryLoop, receiver: ScriptedReceiver, sharing: Destination
) -> None:
    receiver.respond(503)
    for _ in range(20):
        send(sharing, event())

    def names_some() -> bool:
        if sharing.pending == 0:  # all were given back: the pool gives it one again
            send(sharing, event())
        return sharing.pending == 1 and len(sharing.keeps_back()) > 0

    drive_until(loop.run_once, names_some)
    receiver.respond(200)

    def is_well_again() -> bool:
        if sharing.pending == 0 and not sharing.is_healthy:  # the last probe was refused before
            send(sharing, event())
        return sharing.pending == 0 and sharing.is_healthy

    drive_until(loop.run_once, is_well_again)
    assert sharing.keeps_back() == []


def test_one_that_shares_with_no_other_names_nothing(
    loop: DeliveryLoop, receiver: ScriptedReceiver, destination: Destination
) -> None:
    receiver.respond(503)
    send(destination, event())
    drive_until(loop.run_once, lambda: len(receiver.requests) >= 6)
    assert not destination.is_healthy
    assert destination.keeps_back() == []


def test_another_message_is_the_next_probe(
    loop: DeliveryLoop, receiver: ScriptedReceiver, sharing: Destination
) -> None:
    """Else the only one that fails could be the probe forever."""
    receiver.respond(fails_one)
    bad = [send(sharing, event("f" * 32)) for _ in range(8)]
    drive_until(loop.run_once, lambda: sum(bool(each.holds) for each in bad) >= 7)
    good = [send(sharing, event("a" * 32))]

    def is_well_again() -> bool:
        if good[-1].holds:  # the parent sends it again
            good.append(send(sharing, event("a" * 32), good[-1].holds[0]))
        return sharing.is_healthy

    drive_until(loop.run_once, is_well_again)
    assert good[-1].settlements == [None]


def test_one_held_for_an_outage_is_not_taken_for_failing_at_its_next_failure(
    loop: DeliveryLoop, receiver: ScriptedReceiver, sharing: Destination
) -> None:
    receiver.respond_in_turn(503, 200)
    receipt = send(sharing, event(), Held("unavailable", "upstream", "HTTP 503"))
    drive_until(loop.run_once, lambda: bool(receipt.settlements))
    assert (receipt.settlements, receipt.holds) == ([None], [])


@pytest.mark.parametrize("limits", ["300::organization", "0.3:error"])
def test_a_limit_that_would_fill_the_worker_is_given_back_until_its_end(
    loop: DeliveryLoop, receiver: ScriptedReceiver, sharing: Destination, limits: str
) -> None:
    receiver.respond(Reply(429, {"X-Sentry-Rate-Limits": limits}))
    receipt = send(sharing, event())
    drive_until(loop.run_once, lambda: bool(receipt.holds))
    (held,) = receipt.holds
    seconds = float(limits.split(":", maxsplit=1)[0])
    assert held.kind == "unavailable", "never a dead letter"
    assert seconds - 5 < held.due_s - time.time() <= seconds + 1


def test_one_that_answers_nothing_keeps_only_what_is_on_the_wire(
    loop: DeliveryLoop, receiver: ScriptedReceiver, sharing: Destination
) -> None:
    receiver.respond(Reply(delay_s=60))
    receipts = [send(sharing, event()) for _ in range(8)]
    drive_until(loop.run_once, lambda: len(receiver.requests) == 4)
    assert sharing.room() == 0, "it is given a second"
    drive_until(loop.run_once, lambda: sharing.room() > 0)
    assert [bool(each.holds) for each in receipts] == [False] * 4 + [True] * 4
    assert (sharing.pending, sharing.room()) == (4, 4)


def test_a_busy_one_that_answers_gives_nothing_back(
    clocked_loop: DeliveryLoop, clock: ManualClock, receiver: ScriptedReceiver
) -> None:
    sharing = make_destination(clocked_loop, receiver.dsn(), holds=True, shares=True, connections=4)
    receiver.respond(Reply(delay_s=0.02))
    receipts: list[RecordedReceipt] = []

    def send_what_fits() -> bool:
        clock.now = 1000 + 0.2 * sum(bool(each.settlements) for each in receipts)
        receipts.extend(send(sharing, event()) for _ in range(sharing.room()))
        assert sharing.room() == 0, "full, but not still"
        return len(receipts) >= 100

    drive_until(clocked_loop.run_once, send_what_fits)
    drive_until(clocked_loop.run_once, lambda: sharing.pending == 0)
    assert all(each.settlements == [None] and not each.holds for each in receipts)


def test_a_best_effort_one_leaves_room_to_the_others(
    loop: DeliveryLoop, receiver: ScriptedReceiver
) -> None:
    destination = make_destination(
        loop, receiver.dsn(), holds=True, shares=True, required=False, connections=1
    )
    receiver.respond(Reply(delay_s=60))
    for _ in range(10):
        send(destination, event())
    assert destination.room() > 100
