"""Held messages: when they are tried again, when they are dead letters, and what is bounded."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.held import Held
from consumer_fleet.kafka.open_offsets import CommitMetadata, OpenOffsets
from consumer_fleet.worker import holding as module
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.work import OutcomeCounts, Work
from tests.support.records import chunk, partition

HOUR = 3600.0


class HandPool:
    """Takes tasks; the test settles them, and says what the destination has accepted."""

    def __init__(self) -> None:
        self.on_held: object = None
        self.open_offsets = OpenOffsets(time.time)
        self.works: list[Work] = []
        self.abandoned: list[Work] = []
        self.has_room = True
        self.outcomes = OutcomeCounts()
        self.status = DestinationStatus("upstream", "open", 0, 0, 0, 0, "")

    def statuses(self) -> list[DestinationStatus]:
        return [self.status]

    def submit(self, work: Work) -> None:
        self.works.append(work)

    def abandon(self, works: list[Work]) -> None:
        self.abandoned.extend(works)


class Scene:
    """A holding whose clock the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: bool) -> None:
        self.now = time.time()
        for clock in ("monotonic", "time"):
            monkeypatch.setattr(f"consumer_fleet.worker.holding.time.{clock}", lambda: self.now)
        self.pool = HandPool()
        self.open = self.pool.open_offsets
        self.holding = Holding(
            self.pool,  # type: ignore[arg-type]  # a hand-driven pool
            hold_at_most_s=600.0,
            keeps_dead_letters=options.get("keeps_dead_letters", True),
        )

    def hold(self, first: int, count: int = 1, kind: str = "failing", due_in_s: float = 0) -> None:
        work = Work(chunk(first, count))
        for index in range(count):
            due_s = self.now + due_in_s if due_in_s else 0.0
            held = Held(kind, "upstream", "HTTP 500: no", due_s)  # type: ignore[arg-type]
            self.holding.hold(work, index, held)
        assert work.unsettled == 0, "it has left the window"

    def accept_others(self) -> None:
        accepted = self.pool.status.accepted + 1
        self.pool.status = replace(self.pool.status, accepted=accepted)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.holding.poll()

    def letters(self) -> list[tuple[int, str]]:
        """Store the dead letters that are due; their offsets and reasons."""
        found = []
        for entry, letter in list(self.holding.take_letters()):
            found.append((letter.record.offset, letter.reason))
            self.holding.stored(entry)
        return found

    def committed(self, settled: int = 10_000) -> int:
        return self.open.commit_of(partition(), settled, "")[0]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_a_failing_message_is_tried_again_after_waits_that_grow(scene: Scene) -> None:
    scene.hold(7)
    assert scene.committed() == 7
    waits = []
    for attempt in range(1, 6):
        begun = scene.now
        while len(scene.pool.works) < attempt:
            scene.wait(0.5)
        waits.append(scene.now - begun)
        scene.holding.hold(scene.pool.works[-1], 0, Held("failing", "upstream", "again"))
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0]
    assert scene.committed() == 7


def test_a_delivered_one_frees_the_commit_at_once(scene: Scene) -> None:
    scene.hold(7)
    scene.hold(9)
    scene.wait(6)
    for work in scene.pool.works:
        work.settle(0)
    scene.wait(0)
    assert scene.holding.is_empty
    assert scene.committed() == 10_000
    assert list(scene.open.take_changed()) == [partition()]


def test_a_limited_message_is_tried_when_its_limit_ends_with_what_it_was_left_with(
    scene: Scene,
) -> None:
    held = Held("limited", "saas", "429", scene.now + 60, ["upstream"], {"saas": [1]})
    scene.holding.hold(Work(chunk(7, 1)), 0, held)
    scene.wait(59)
    assert scene.pool.works == []
    scene.wait(1.1)
    (work,) = scene.pool.works
    task = work.task(1, 0, [0], whole=False)
    assert task.accepted_by == {0: ["upstream"]}
    assert Held(*task.held[0]) == held


def test_it_is_a_dead_letter_once_others_have_passed_it_for_too_long(scene: Scene) -> None:
    scene.hold(7, kind="limited", due_in_s=HOUR)
    scene.wait(1)
    scene.accept_others()
    scene.wait(590)
    assert scene.letters() == []
    scene.wait(10)
    (taken,) = list(scene.holding.take_letters())
    entry, letter = taken
    assert (letter.reason, letter.detail) == ("held_limited", "upstream: HTTP 500: no")
    assert letter.due_ms == round(entry.held.due_s * 1000)
    assert scene.committed() == 7, "not before it is stored"
    scene.holding.stored(entry)
    assert scene.committed() == 10_000
    assert scene.pool.outcomes.rejected == {"held_limited": 1}


def test_the_time_in_earlier_processes_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.hold(7)
    scene.accept_others()
    scene.wait(300)
    scene.hold(8)
    committed, metadata = scene.open.commit_of(partition(), 20, "")
    begun = scene.now
    later = Scene(monkeypatch)
    later.now = begun + 200
    later.open.inherit(partition(), CommitMetadata.read(metadata, committed))
    # A new message may be held before those that are older.
    for offset in (30, 7, 8):
        later.hold(offset, kind="limited", due_in_s=HOUR)
    oldest = later.holding.oldest
    assert oldest is not None
    assert oldest.offset == 7
    assert later.letters() == []
    for seconds, expected in ((99, []), (2, [7]), (298, []), (2, [8]), (198, []), (3, [30])):
        later.accept_others()
        later.wait(seconds)
        assert [offset for offset, _ in later.letters()] == expected


@pytest.mark.parametrize("seed", range(10))
def test_however_often_it_restarts_each_message_is_held_for_its_time_and_not_much_longer(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(seed)
    scene = Scene(monkeypatch)
    held_at: dict[int, float] = {}
    ages: dict[int, float] = {}
    restart_at = scene.now
    while len(ages) < 40:
        if scene.now >= restart_at:
            committed, metadata = scene.open.commit_of(partition(), 10_000, "")
            left, now = CommitMetadata.read(metadata, committed), scene.now
            scene = Scene(monkeypatch)
            scene.now = now + source.uniform(0, 20)
            scene.open.inherit(partition(), left)
            for offset in source.sample(sorted(left.open), len(left.open)):
                scene.hold(offset, kind="limited", due_in_s=HOUR)
            restart_at = scene.now + source.uniform(20, 300)
        if len(held_at) < 40 and source.random() < 0.2:
            # Not exactly in the order of the offsets.
            offset = 20 * len(held_at) + source.randrange(60)
            if offset not in held_at:
                held_at[offset] = scene.now
                scene.hold(offset, kind="limited", due_in_s=HOUR)
        scene.accept_others()
        scene.wait(5)
        ages |= {offset: scene.now - held_at[offset] for offset, _ in scene.letters()}
    assert ages.keys() == held_at.keys()
    assert min(ages.values()) >= 600
    # The look, the restart, and what neighbours share.
    assert max(ages.values()) <= 600 + 5 + 20 + 11


def test_an_outage_makes_no_dead_letters_however_long_it_lasts(scene: Scene) -> None:
    scene.accept_others()
    scene.wait(0)
    scene.hold(7, 1100, kind="limited", due_in_s=100 * HOUR)
    scene.now += 700
    for _ in range(10):
        scene.wait(HOUR)
    assert scene.letters() == []
    assert scene.holding.is_full, "backpressure"
    scene.accept_others()
    scene.wait(1)
    found = 0
    while letters := scene.letters():
        found += len(letters)
    assert found == 1100
    assert not scene.holding.is_full


def test_one_that_fails_gets_another_attempt_before_it_is_a_dead_letter(scene: Scene) -> None:
    # The destination was away for longer than the message may be held.
    scene.accept_others()
    scene.wait(0)
    scene.hold(7)
    scene.hold(8)
    scene.now += HOUR
    scene.pool.has_room = False
    scene.accept_others()
    scene.wait(1)
    assert scene.letters() == []
    scene.pool.has_room = True
    scene.wait(1)
    good, bad = scene.pool.works
    good.settle(0)
    scene.holding.hold(bad, 0, Held("failing", "upstream", "no"))
    scene.wait(0.2)
    assert scene.letters() == [(8, "held_failing")]
    assert scene.holding.is_empty


def test_beyond_its_bound_the_oldest_are_dead_letters_and_no_more_than_needed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_MESSAGES", 10)
    scene.hold(0, 5, kind="limited", due_in_s=HOUR)
    scene.accept_others()
    scene.wait(1)
    scene.hold(5, 8, kind="limited", due_in_s=HOUR)
    scene.wait(1)
    assert [offset for offset, _ in scene.letters()] == [0, 1, 2]
    scene.wait(1)
    assert scene.letters() == []


def test_without_a_dead_letter_topic_a_full_one_takes_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(monkeypatch, keeps_dead_letters=False)
    monkeypatch.setattr(module, "_MAX_MESSAGES", 10)
    scene.hold(0, 11)
    scene.accept_others()
    scene.wait(HOUR)
    assert scene.holding.is_full
    assert scene.letters() == []


def test_at_the_sources_end_each_gets_its_last_chance_and_none_is_left(scene: Scene) -> None:
    scene.accept_others()
    scene.wait(1)
    scene.hold(1, kind="limited", due_in_s=30)
    scene.hold(2, kind="limited", due_in_s=HOUR)
    scene.hold(3, kind="failing")
    scene.holding.finish()
    scene.wait(0.2)
    assert scene.letters() == [(2, "held_limited")], "its limit ends too late"
    assert [work.chunk.offset_of(0) for work in scene.pool.works] == [3], "at once"
    for attempt in range(5):
        assert scene.letters() == []
        scene.holding.hold(scene.pool.works[attempt], 0, Held("failing", "upstream", "no"))
        scene.wait(0.2)
        scene.wait(2)
    assert scene.letters() == [(3, "held_failing")], "after five attempts"
    scene.wait(30)
    scene.pool.works[5].settle(0)
    scene.wait(0)
    assert scene.holding.is_empty


def test_a_partition_that_moves_takes_its_held_messages_along(scene: Scene) -> None:
    scene.hold(7, 3)
    scene.wait(6)
    scene.open.forget([partition()])
    assert scene.holding.is_empty
    assert scene.pool.abandoned == scene.pool.works
    assert scene.committed() == 10_000


def test_a_dead_letter_that_a_rebalance_interrupts_is_stored_again(scene: Scene) -> None:
    scene.hold(7, kind="limited", due_in_s=HOUR)
    scene.accept_others()
    scene.wait(599)
    scene.accept_others()
    scene.wait(2)
    assert len(list(scene.holding.take_letters())) == 1
    scene.holding.pause()
    scene.holding.resume()
    assert scene.letters() == [(7, "held_limited")]
    assert scene.pool.outcomes.rejected == {"held_limited": 1}


def test_what_a_drain_gave_up_is_tried_again_by_the_next_step(scene: Scene) -> None:
    scene.hold(7)
    scene.wait(6)
    assert scene.holding.is_busy
    scene.pool.works[0].given_up.add(0)
    assert not scene.holding.is_busy
    scene.holding.pause()
    scene.wait(1)
    scene.wait(1)
    assert len(scene.pool.works) == 1
    scene.holding.resume()
    scene.wait(1)
    assert len(scene.pool.works) == 2


def test_a_commit_names_what_its_oldest_message_waits_for(scene: Scene) -> None:
    scene.hold(7)
    _, text = scene.open.commit_of(partition(), 20, "")
    assert text.endswith(" why=failing%20upstream%20HTTP%20500%3A%20no")


# An outage of one of many destinations


def test_what_an_outage_holds_is_never_a_dead_letter_nor_takes_the_room_of_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_MESSAGES", 3)
    scene.pool.has_room = False
    scene.hold(0, 10, kind="unavailable")
    scene.hold(20, 3)
    scene.accept_others()  # the destination is alive, as at the begin of an outage
    scene.wait(1)
    assert scene.letters() == []
    scene.hold(30)
    for _ in range(3):
        scene.accept_others()
        scene.wait(400)
    assert scene.letters() == [(20, "held_failing")]
    assert scene.holding.counts()["unavailable"] == 10


def test_the_time_of_an_outage_does_not_count_against_a_message(scene: Scene) -> None:
    scene.hold(7, kind="unavailable")
    scene.hold(9)
    scene.wait(1)
    scene.wait(599)
    scene.holding.hold(scene.pool.works[0], 0, Held("failing", "upstream", "HTTP 500"))
    entries = scene.holding.by_partition()[partition()]
    assert {entry.offset: scene.now - entry.since for entry in entries} == {7: 0, 9: 600}
    assert [entry.offset for entry in entries] == [9, 7], "the oldest comes first"


def test_a_message_waits_while_its_destination_is_down_and_has_another_to_try(
    scene: Scene,
) -> None:
    scene.pool.status = replace(scene.pool.status, state="backing_off", pending=1)
    scene.wait(0)
    scene.hold(7, kind="unavailable")
    scene.wait(60)
    assert scene.pool.works == []
    scene.pool.status = replace(scene.pool.status, pending=0)
    scene.wait(1)
    assert len(scene.pool.works) == 1, "nothing else could show that it is well again"


def test_after_an_outage_the_wait_is_short_however_long_it_was(scene: Scene) -> None:
    scene.hold(7, kind="unavailable")
    for _ in range(20):
        scene.wait(8)
        scene.holding.hold(scene.pool.works[-1], 0, Held("unavailable", "upstream", "HTTP 503"))
    scene.wait(8)
    assert len(scene.pool.works) == 21


def test_only_partitions_that_wait_for_a_destination_are_full_and_until_half_has_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_UNAVAILABLE", 10)
    scene.hold(0, 10, kind="unavailable")
    scene.wait(0.01)
    assert scene.open.full == frozenset()
    scene.hold(10, 1, kind="unavailable")
    scene.wait(0.01)
    assert scene.open.full == {partition()}
    assert not scene.holding.is_full, "other partitions go on"
    scene.wait(1)
    for left in range(10, 4, -1):
        assert scene.open.full == {partition()}
        scene.pool.works.pop().settle(0)
        scene.wait(0.01)
        assert scene.holding.counts()["unavailable"] == left
    scene.wait(0.01)
    assert scene.open.full == frozenset()
