"""An envelope that nothing waits for any more: its partition has moved, or time was up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumer_fleet.capture.delivery_loop import DeliveryLoop
from consumer_fleet.errors import RejectedMessage
from tests.support.capturing import drive_until, event, make_destination, send
from tests.support.scripted_receiver import Reply, ScriptedReceiver


@pytest.fixture
def server() -> Iterator[ScriptedReceiver]:
    with ScriptedReceiver() as running:
        yield running


class Owner:
    """A sender of envelopes that may abandon them."""

    def __init__(self) -> None:
        self.gone = False
        self.answers: list[RejectedMessage | None] = []

    def is_gone(self) -> bool:
        return self.gone


def test_abandoned_envelopes_are_dropped_and_the_others_sent(
    server: ScriptedReceiver, loop: DeliveryLoop
) -> None:
    server.respond(503)
    destination = make_destination(loop, server.dsn(), connections=1)
    leaving, staying = Owner(), Owner()
    for owner in (leaving, staying, leaving, staying):
        send(destination, event(), owner.answers.append, owner.is_gone)
    drive_until(loop.run_once, lambda: len(server.requests) >= 4)
    leaving.gone = True
    destination.drop_abandoned()
    server.respond(200)
    drive_until(loop.run_once, lambda: destination.pending == 0)
    assert staying.answers == [None, None]
    assert len(leaving.answers) == 2
    # With one connection, one of them at most was on the wire, and may have been taken.
    assert "abandoned" in [answer.reason for answer in leaving.answers if answer]


def test_an_abandoned_envelope_is_not_retried(server: ScriptedReceiver, loop: DeliveryLoop) -> None:
    owner = Owner()

    def leave_then_fail(_: object) -> Reply:
        owner.gone = True
        return Reply(503)

    server.respond(leave_then_fail)
    destination = make_destination(loop, server.dsn())
    send(destination, event(), owner.answers.append, owner.is_gone)
    drive_until(loop.run_once, lambda: destination.pending == 0)
    assert [answer.reason for answer in owner.answers if answer] == ["abandoned"]
    assert len(server.requests) == 1


def test_an_abandoned_envelope_that_is_accepted_counts_as_accepted(
    server: ScriptedReceiver, loop: DeliveryLoop
) -> None:
    owner = Owner()

    def leave_then_take(_: object) -> Reply:
        owner.gone = True
        return Reply(200)

    server.respond(leave_then_take)
    destination = make_destination(loop, server.dsn())
    send(destination, event(), owner.answers.append, owner.is_gone)
    drive_until(loop.run_once, lambda: destination.pending == 0)
    assert owner.answers == [None]
    assert len(server.envelopes) == 1
