"""A line of ``consumer tail`` leaves when the fate of its message is known."""

from __future__ import annotations

import pytest

from consumer_fleet.kafka.open_offsets import NOTHING_HELD, CommitMetadata
from consumer_fleet.tail.deliveries import Commits, Deliveries
from consumer_fleet.tail.line import TailLine
from tests.support.clock import ManualClock

HELD_5 = CommitMetadata("", 9, frozenset({5, 7}), "failing upstream HTTP 500: boom")


def line(offset: int) -> TailLine:
    return TailLine("events", 0, offset, 0, 1, "error", "error", f"title {offset}")


def commit(offset: int, says: CommitMetadata = NOTHING_HELD) -> Commits:
    return {("events", 0): (offset, says)}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def deliveries(clock: ManualClock) -> Deliveries:
    return Deliveries(3.0, clock)


def taken(deliveries: Deliveries) -> list[tuple[int, str, str]]:
    return [(each.offset, each.delivery, each.detail) for each in deliveries.take()]


def test_a_line_leaves_once_the_commit_has_passed_it(deliveries: Deliveries) -> None:
    for offset in (4, 5):
        deliveries.add(line(offset))
    assert taken(deliveries) == []
    deliveries.committed("events", commit(5))
    assert taken(deliveries) == [(4, "settled", "")]
    deliveries.committed("events", commit(6))
    assert taken(deliveries) == [(5, "settled", "")]


def test_lines_keep_their_order_and_leave_as_waiting_after_a_while(
    deliveries: Deliveries, clock: ManualClock
) -> None:
    deliveries.add(line(5))
    clock.now += 2.0
    deliveries.add(line(6))
    deliveries.committed("events", commit(5))
    clock.now += 1.5
    assert taken(deliveries) == [(5, "waiting", "")]
    deliveries.committed("events", commit(7))
    assert taken(deliveries) == [(6, "settled", "")], "5 is settled later, and is not shown again"


def test_what_is_held_names_its_cause_and_is_shown_again_when_it_is_settled(
    deliveries: Deliveries,
) -> None:
    for offset in (5, 6, 7):
        deliveries.add(line(offset))
    deliveries.committed("events", commit(5, HELD_5))
    assert taken(deliveries) == [
        (5, "held", "failing upstream HTTP 500: boom"),
        (6, "settled", ""),
        (7, "held", ""),
    ]
    deliveries.committed("events", commit(7, CommitMetadata("", 9, frozenset({7}))))
    assert taken(deliveries) == [(5, "settled", "")]


def test_a_dead_letter_wins_over_the_commit_that_passes_it(deliveries: Deliveries) -> None:
    deliveries.add(line(5))
    deliveries.dead_letter(("events", 0, 5), "invalid_json: byte 0")
    deliveries.committed("events", commit(6))
    assert taken(deliveries) == [(5, "dead letter", "invalid_json: byte 0")]


def test_a_dead_letter_may_come_before_its_line_and_after_it(
    deliveries: Deliveries, clock: ManualClock
) -> None:
    deliveries.dead_letter(("events", 0, 5), "early")
    deliveries.add(line(5))
    assert taken(deliveries) == [(5, "dead letter", "early")]
    deliveries.add(line(6))
    clock.now += 3.0
    assert taken(deliveries) == [(6, "waiting", "")]
    deliveries.dead_letter(("events", 0, 6), "late")
    assert taken(deliveries) == [(6, "dead letter", "late")]


def test_a_group_that_never_committed_delays_nothing(deliveries: Deliveries) -> None:
    deliveries.add(line(5))
    deliveries.committed("events", {})
    assert taken(deliveries) == [(5, "unknown", "")]


def test_a_flood_is_shown_as_it_is(deliveries: Deliveries) -> None:
    for offset in range(5010):
        deliveries.add(line(offset))
    assert len(taken(deliveries)) == 10


def test_commits_are_of_interest_as_long_as_a_line_is_open(deliveries: Deliveries) -> None:
    assert deliveries.topics() == set()
    deliveries.add(line(5))
    assert deliveries.topics() == {"events"}
    deliveries.committed("events", commit(6))
    taken(deliveries)
    assert deliveries.topics() == set()
