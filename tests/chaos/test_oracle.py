"""The oracle itself: it must be able to fail."""

from __future__ import annotations

import pytest

from consumer_fleet.kafka.open_offsets import CommitMetadata
from tests.chaos import consumers
from tests.chaos.oracle import Commit, Ledger, Oracle, event_id
from tests.chaos.receiver import Receiver
from tests.chaos.rows import ROWS, Result
from tests.support.kafka_topics import KafkaTopics


class Scene(Oracle):
    """An oracle whose group commits what a test says, and whose dead-letter topic is empty."""

    def __init__(self, *receivers: Receiver) -> None:
        ledger = Ledger("events", receivers)
        ledger.ends.update({0: 10, 1: 10})
        super().__init__(KafkaTopics("unused"), "group", ledger, "events-dlq")
        self.said: dict[int, Commit] = {}

    def commit(self, partition: int, offset: int, metadata: str = "") -> list[str]:
        self.said[partition] = Commit(offset, CommitMetadata.read(metadata, offset))
        self.look()
        return self.problems

    def _ask(self) -> dict[int, Commit]:
        return self.said

    def _read_dead_letters(self) -> None:
        pass


@pytest.fixture
def upstream() -> Receiver:
    return Receiver("upstream")


@pytest.fixture
def saas() -> Receiver:
    return Receiver("saas")


def accept(scene: Scene, receiver: Receiver, partition: int, *offsets: int) -> None:
    for offset in offsets:
        receiver.accepted[event_id(scene.ledger.tag, partition, offset)] = 1


def test_a_commit_up_to_what_is_accepted_is_right(upstream: Receiver) -> None:
    scene = Scene(upstream)
    accept(scene, upstream, 0, 0, 1, 2, 4)
    assert scene.commit(0, 3) == []
    assert scene.looks == 1


def test_a_commit_past_one_missing_message_is_a_problem(upstream: Receiver) -> None:
    scene = Scene(upstream)
    accept(scene, upstream, 0, 0, 2, 3)
    accept(scene, upstream, 1, 1)
    assert scene.commit(0, 1) == []
    assert scene.commit(0, 4) == ["0 is committed at 4, ahead of 0@1"]


def test_each_required_destination_must_have_the_message(
    upstream: Receiver, saas: Receiver
) -> None:
    scene = Scene(upstream, saas)
    accept(scene, upstream, 0, 0, 1)
    accept(scene, saas, 0, 0)
    assert scene.commit(0, 1) == []
    assert len(scene.commit(0, 2)) == 1


def test_a_dead_letter_is_settled_and_a_deleted_message_too(upstream: Receiver) -> None:
    scene = Scene(upstream)
    scene.ledger.dead[0, 3] = 1
    scene.ledger.deleted_below[0] = 3
    assert scene.commit(0, 4) == []
    assert len(scene.commit(0, 5)) == 1


def test_a_commit_that_goes_back_is_a_problem(upstream: Receiver) -> None:
    scene = Scene(upstream)
    accept(scene, upstream, 0, 0, 1, 2)
    scene.commit(0, 3)
    assert scene.commit(0, 2) == ["0's commit went back from 3 to 2"]


def test_metadata_that_passes_a_missing_message_is_a_problem(upstream: Receiver) -> None:
    """``held=6:1,2,1,2``: of 1 to 6, only 1 and 4 are open."""
    scene = Scene(upstream)
    accept(scene, upstream, 0, 0, 2, 3, 5)
    assert scene.commit(0, 1, "held=6:1,2,1,1") == []
    assert scene.commit(0, 1, "held=6:1,4") == ["0 is committed at 1, ahead of 0@4"]


def test_commits_of_a_topic_that_was_deleted_are_not_judged(upstream: Receiver) -> None:
    scene = Scene(upstream)
    accept(scene, upstream, 0, 0)
    scene.commit(0, 1, "topic-id=old")
    again = Ledger("events", [upstream], generation=1)
    again.ends[0] = 10
    scene.start_again(again)
    assert scene.commit(0, 1, "topic-id=old") == []
    assert scene.commit(0, 1, "topic-id=new") == ["0 is committed at 1, ahead of 0@0"]


def test_lost_messages_are_named_by_position(upstream: Receiver) -> None:
    scene = Scene(upstream)
    accept(scene, upstream, 0, *range(10))
    accept(scene, upstream, 1, *range(5), *range(6, 10))
    assert scene.lost() == [(1, 5)]


def test_messages_at_risk_are_those_accepted_and_not_committed(upstream: Receiver) -> None:
    scene = Scene(upstream)
    accept(scene, upstream, 0, 0, 1, 2, 4)
    accept(scene, upstream, 1, 0, 1)
    assert scene.ledger.exposed({0: Commit(1)}, [0]) == 3
    assert scene.ledger.exposed({0: Commit(1)}, [0, 1]) == 5
    held = Commit(1, CommitMetadata.read("held=4:1,2", 1))
    assert scene.ledger.exposed({0: held}, [0]) == 2


def test_a_row_is_broken_by_a_loss_a_problem_or_a_duplicate_too_many() -> None:
    row = ROWS[consumers.kills.__name__]
    assert Result(row, 1, duplicates=3, bound=3).holds
    assert not Result(row, 1, duplicates=4, bound=3).holds
    assert not Result(row, 1, lost=1).holds
    assert not Result(row, 1, problems=["…"]).holds
