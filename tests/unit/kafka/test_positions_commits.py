"""Commits in flight: sent, retried, dropped, and awaited."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from arroyo.types import Partition
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.kafka.positions import Commits
from tests.support.records import TOPIC, partition
from tests.support.simulated_kafka import Answer

IN_A_REBALANCE = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.STALE_MEMBER_EPOCH,
    KafkaError._ASSIGNMENT_LOST,
)


class HandClient:
    """Notes what it is asked to commit; answers as the test says."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict[int, int], bool]] = []
        self.raises: list[int] = []
        self.partition_errors: dict[int, int] = {}

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Answer] | None:
        self.calls.append(({each.partition: each.offset for each in offsets}, asynchronous))
        if self.raises:
            raise KafkaException(KafkaError(self.raises.pop(0)))
        return None if asynchronous else [self._answer(each) for each in offsets]

    def _answer(self, target: TopicPartition) -> Answer:
        code = self.partition_errors.get(target.partition)
        error = None if code is None else KafkaError(code)
        return Answer(target.topic, target.partition, target.offset, error)


@pytest.fixture
def client() -> HandClient:
    return HandClient()


@pytest.fixture
def commits(client: HandClient) -> Commits:
    return Commits(client)  # type: ignore[arg-type]  # a hand-driven client


def targets(*places: tuple[int, int]) -> list[TopicPartition]:
    return [TopicPartition(TOPIC.name, index, offset) for index, offset in places]


def answer(commits: Commits, code: int | None, *places: tuple[int, int]) -> None:
    commits.answered(None if code is None else KafkaError(code), targets(*places))


def at(*places: tuple[int, int]) -> dict[Partition, int]:
    return {partition(index): offset for index, offset in places}


def test_a_running_consumer_does_not_wait_for_its_commits(
    client: HandClient, commits: Commits
) -> None:
    commits.stage(at((0, 5), (1, 7)))
    assert commits.commit() == at((0, 5), (1, 7))
    assert client.calls == [({0: 5, 1: 7}, True)]


def test_nothing_staged_is_nothing_sent(client: HandClient, commits: Commits) -> None:
    assert commits.commit() == {}
    commits.stage(at((0, 5)))
    commits.commit()
    commits.commit()
    assert len(client.calls) == 1


def test_a_commit_in_the_block_waits_and_takes_what_has_no_answer_yet(
    client: HandClient, commits: Commits
) -> None:
    commits.stage(at((0, 5), (1, 7)))
    commits.commit()
    commits.stage(at((0, 6)))
    with commits.synchronous():
        commits.commit()
    commits.stage(at((0, 8)))
    commits.commit()
    assert client.calls[1:] == [({0: 6, 1: 7}, False), ({0: 8}, True)]


@pytest.mark.parametrize("code", IN_A_REBALANCE)
def test_a_commit_that_meets_a_rebalance_is_sent_again_for_a_partition_that_stays(
    client: HandClient, commits: Commits, code: int
) -> None:
    commits.stage(at((0, 5), (1, 6)))
    commits.commit()
    answer(commits, code, (0, 5), (1, 6))
    commits.forget([partition(1)])
    commits.commit()
    assert client.calls[1:] == [({0: 5}, True)]


def test_a_failed_commit_is_tried_again(client: HandClient, commits: Commits) -> None:
    commits.stage(at((0, 5)))
    commits.commit()
    answer(commits, KafkaError.REQUEST_TIMED_OUT, (0, 5))
    assert commits.commit() == at((0, 5))
    assert client.calls == [({0: 5}, True)] * 2


def test_one_partition_s_failure_is_not_another_s(client: HandClient, commits: Commits) -> None:
    commits.stage(at((0, 5), (1, 7)))
    commits.commit()
    failed = Answer(TOPIC.name, 0, 5, KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))
    answers: Sequence[Answer] = [failed, Answer(TOPIC.name, 1, 7)]
    commits.answered(None, answers)  # type: ignore[arg-type]  # answers as the client gives them
    assert commits.commit() == at((0, 5))


def test_a_failed_commit_never_replaces_a_newer_offset(
    client: HandClient, commits: Commits
) -> None:
    commits.stage(at((0, 5)))
    commits.commit()
    commits.stage(at((0, 9)))
    answer(commits, KafkaError.REQUEST_TIMED_OUT, (0, 5))
    assert commits.commit() == at((0, 9))
    assert client.calls[-1] == ({0: 9}, True)


def test_a_newer_commit_waits_for_the_answer_so_that_an_older_one_can_not_overtake_it(
    client: HandClient, commits: Commits
) -> None:
    commits.stage(at((0, 5)))
    commits.commit()
    commits.stage(at((0, 9)))
    assert commits.commit() == {}
    answer(commits, None, (0, 5))
    assert commits.commit() == at((0, 9))
    assert client.calls == [({0: 5}, True), ({0: 9}, True)]


def test_a_commit_whose_answer_never_comes_does_not_end_all_commits(client: HandClient) -> None:
    now = [0.0]
    commits = Commits(client, clock=lambda: now[0])  # type: ignore[arg-type]  # a hand-driven client
    commits.stage(at((0, 5), (1, 5)))
    commits.commit()
    commits.stage(at((0, 9)))
    now[0] = 80.0
    assert commits.commit() == {}
    now[0] = 91.0
    assert commits.commit() == at((0, 9), (1, 5))
    answer(commits, KafkaError.REQUEST_TIMED_OUT, (0, 5))
    answer(commits, None, (0, 9), (1, 5))
    assert commits.commit() == {}, "an answer to the older commit says nothing of the newer"


def test_an_asynchronous_commit_that_the_client_refuses_is_tried_again(
    client: HandClient, commits: Commits
) -> None:
    client.raises = [KafkaError._TIMED_OUT]
    commits.stage(at((0, 5)))
    commits.commit()
    assert commits.commit() == at((0, 5))
    assert len(client.calls) == 2


def test_waiting_outlives_a_passing_failure(client: HandClient, commits: Commits) -> None:
    client.raises = [KafkaError.REQUEST_TIMED_OUT, KafkaError.REQUEST_TIMED_OUT]
    commits.stage(at((0, 5)))
    with commits.synchronous():
        commits.commit()
    assert client.calls == [({0: 5}, False)] * 3


def test_a_commit_that_held_at_last_is_not_sent_again(client: HandClient, commits: Commits) -> None:
    client.raises = [KafkaError.REQUEST_TIMED_OUT]
    commits.stage(at((0, 5)))
    with commits.synchronous():
        commits.commit()
    assert commits.commit() == {}


def test_a_partition_that_failed_alone_is_tried_again_while_the_commit_waits(
    client: HandClient, commits: Commits
) -> None:
    client.partition_errors = {0: KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
    commits.stage(at((0, 5), (1, 7)))
    with commits.synchronous():
        commits.commit()
    assert [offsets for offsets, _ in client.calls] == [{0: 5, 1: 7}, {0: 5}, {0: 5}]


def test_waiting_ends_and_the_offset_stays_staged(client: HandClient, commits: Commits) -> None:
    client.raises = [KafkaError.REQUEST_TIMED_OUT] * 3
    commits.stage(at((0, 5)))
    with commits.synchronous():
        commits.commit()
    assert len(client.calls) == 3
    assert commits.commit() == at((0, 5))


def test_nothing_is_committed_for_a_forgotten_partition(
    client: HandClient, commits: Commits
) -> None:
    commits.stage(at((0, 5), (1, 7)))
    commits.commit()
    commits.stage(at((0, 6), (1, 8)))
    commits.forget([partition(0)])
    answer(commits, KafkaError.REQUEST_TIMED_OUT, (0, 5))
    with commits.synchronous():
        commits.commit()
    assert client.calls[-1] == ({1: 8}, False)


def test_blocks_may_be_nested(client: HandClient, commits: Commits) -> None:
    with commits.synchronous():
        with commits.synchronous():
            pass
        commits.stage(at((0, 5)))
        commits.commit()
    assert client.calls == [({0: 5}, False)]


def test_only_a_confirmed_commit_counts_as_committed(commits: Commits) -> None:
    commits.stage(at((0, 5)))
    commits.commit()
    answer(commits, KafkaError.FENCED_INSTANCE_ID, (0, 5))
    assert commits.answers == {}
    commits.commit()
    answer(commits, None, (0, 5))
    assert commits.answers == at((0, 5))
    commits.forget([partition(0)])
    assert commits.answers == {}


def test_behind_a_held_message_the_commit_stays_and_progress_is_seen_all_the_same(
    client: HandClient,
) -> None:
    held = OpenOffsets(lambda: 7.0)
    held.add(partition(0), 5)
    commits = Commits(client, open_offsets=held)  # type: ignore[arg-type]  # a hand-driven client
    for settled in (8, 9):
        commits.stage(at((0, settled)))
        commits.commit()
        assert client.calls[-1] == ({0: 5}, True)
        sent = TopicPartition(TOPIC.name, 0, 5, f"held={settled}:1 since=7:1")
        commits.answered(None, [sent])
        # What the health file looks at: a held message is no stall.
        assert commits.answers == at((0, settled))


def test_a_late_answer_to_an_earlier_commit_of_the_same_offset_is_not_taken_for_this_one(
    client: HandClient,
) -> None:
    held = OpenOffsets()
    held.add(partition(0), 5)
    commits = Commits(client, open_offsets=held)  # type: ignore[arg-type]  # a hand-driven client
    commits.stage(at((0, 8)))
    commits.commit()
    commits.answered(None, [TopicPartition(TOPIC.name, 0, 5, "held=7:1")])
    assert commits.answers == {}


def test_a_broker_that_allows_less_metadata_gets_less(client: HandClient) -> None:
    held = OpenOffsets()
    for offset in range(0, 2000, 2):
        held.add(partition(0), offset)
    commits = Commits(client, open_offsets=held)  # type: ignore[arg-type]  # a hand-driven client
    commits.stage(at((0, 2000)))
    client.raises = [KafkaError.OFFSET_METADATA_TOO_LARGE]
    commits.commit()
    before = len(held.commit_of(partition(0), 2000, "")[1])
    commits.commit()
    assert client.calls[-1] == ({0: 0}, True), "it is sent again"
    assert 0 < before < 2000
