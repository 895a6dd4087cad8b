"""Ids of sent events: what has come back, and what is only read or sent again."""

from __future__ import annotations

import random

import pytest

from consumer_fleet.capture.counts import SentIds
from consumer_fleet.capture.envelope import build, make_item
from tests.support.capturing import event, event_ids

ID = "0123456789abcdef" * 2


def test_an_event_at_a_third_offset_has_come_back() -> None:
    sent = SentIds()
    assert [sent.has_come_back(event(ID), offset) for offset in (5, 900, 1700, 2600)] == [
        False,
        False,  # a client that got no answer
        True,
        True,
    ]
    assert sent.came_back == 1  # each id once: a client may repeat itself without end


def test_whatever_is_read_again_is_sent_again() -> None:
    sent = SentIds()
    for _ in range(3):
        assert [sent.has_come_back(event(ID), offset) for offset in (5, 2**40)] == [False, False]
    assert sent.came_back == 0


def test_what_shares_an_events_id_is_never_taken_for_it() -> None:
    sent = SentIds()
    others = [
        build(ID, (make_item("attachment", b"1"),)),
        build(ID, (make_item("user_report", b"{}"),)),
        build(ID, (make_item("replay_event", b"{}"), make_item("replay_recording", b"{}"))),
        build(None, (make_item("session", b"{}"),)),
    ]
    for offset in range(10):
        for number, envelope in enumerate(others):
            assert not sent.has_come_back(envelope, 10 * offset + number)
    # Nor does it hide the event: one of them, and the event, may be sent.
    assert not sent.has_come_back(event(ID), 200)
    assert sent.has_come_back(event(ID), 300)


@pytest.mark.parametrize("kind", ["event", "transaction", "feedback"])
def test_an_event_is_known_wherever_it_is_in_its_envelope(kind: str) -> None:
    sent = SentIds()
    envelope = build(ID, (make_item("attachment", b"1"), make_item(kind, b"{}")))
    assert [sent.has_come_back(envelope, offset) for offset in range(3)] == [False, False, True]


def test_different_ids_are_never_taken_for_one_another() -> None:
    sent = SentIds()
    # More than it holds: newer ids replace older ones.
    chance = random.Random(15)
    ids = [*event_ids(1000), *(f"{chance.getrandbits(128):032x}" for _ in range(20_000))]
    assert not any(sent.has_come_back(event(each), number) for number, each in enumerate(ids))


def test_the_ids_of_one_worker_are_known_to_the_next() -> None:
    sent = SentIds()
    sent.has_come_back(event(ID), 1)
    other = SentIds.__new__(SentIds)
    other.__setstate__(sent.__getstate__())
    other.has_come_back(event(ID), 2)
    assert sent.has_come_back(event(ID), 3)
