"""The step that runs chunks in workers, with a pool that the test settles by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.types import Message, Partition

from consumer_fleet.strategies.run_in_workers import RunInWorkers, Settled
from consumer_fleet.worker.work import Work
from tests.support.records import chunk, message, partition


class HandPool:
    """Takes work; the test settles it."""

    def __init__(self) -> None:
        self.works: list[Work] = []
        self.abandoned: list[Work] = []
        self.has_room = True
        self.is_hopeless = False
        self.on_wait: Callable[[], object] = lambda: None

    def submit(self, work: Work) -> None:
        self.works.append(work)

    def poll(self) -> None:
        pass

    def wait(self, timeout_s: float) -> None:
        self.on_wait()

    def drain(self) -> None:
        pass

    def abandon(self, works: list[Work]) -> None:
        self.abandoned.extend(works)


class HandHolding:
    """Holds nothing, and says whether it is full."""

    is_full = False


class Kept(ProcessingStrategy[Settled]):
    """The next step: keeps its messages, or rejects them."""

    def __init__(self) -> None:
        self.messages: list[Message[Settled]] = []
        self.refusing = False
        self.joined_with: float | None = None

    def submit(self, message: Message[Settled]) -> None:
        if self.refusing:
            raise MessageRejected
        self.messages.append(message)

    def poll(self) -> None:
        pass

    def close(self) -> None:
        pass

    def terminate(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        self.joined_with = timeout

    @property
    def commits(self) -> list[Mapping[Partition, int]]:
        return [each.committable for each in self.messages]


@pytest.fixture
def pool() -> HandPool:
    return HandPool()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def step(pool: HandPool, kept: Kept) -> RunInWorkers:
    return RunInWorkers(pool, kept, max_in_flight_bytes=100)  # type: ignore[arg-type]  # a hand-driven pool


def test_a_commit_does_not_wait_for_the_end_of_a_chunk(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 3)))
    pool.works[0].settle(0)
    step.poll()
    assert kept.commits == [{partition(): 1}]


def test_a_later_chunk_is_not_committed_before_an_earlier_one(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 1)))
    step.submit(message(chunk(1, 1)))
    pool.works[1].settle(0)
    step.poll()
    assert kept.commits == []
    pool.works[0].settle(0)
    step.poll()
    assert kept.commits == [{partition(): 2}]


def test_a_stuck_partition_does_not_hold_up_another(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 1, index=0)))
    step.submit(message(chunk(5, 1, index=1)))
    pool.works[1].settle(0)
    step.poll()
    assert kept.commits == [{partition(1): 6}]


def test_dead_letters_travel_with_the_prefix_that_holds_them(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 3)))
    pool.works[0].reject(1, "invalid_json", "")
    pool.works[0].settle(0)
    step.poll()
    (settled,) = kept.messages
    assert [letter.record.offset for letter in settled.payload.dead_letters] == [1]
    assert settled.committable == {partition(): 2}


def test_a_full_budget_rejects_and_frees_with_the_receipts(
    pool: HandPool, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 1, value=b"x" * 90)))
    with pytest.raises(MessageRejected):
        step.submit(message(chunk(1, 1, value=b"x" * 90)))
    pool.works[0].settle(0)
    step.poll()
    step.submit(message(chunk(1, 1, value=b"x" * 90)))
    assert len(pool.works) == 2


def test_a_chunk_larger_than_the_budget_passes_alone(pool: HandPool, step: RunInWorkers) -> None:
    step.submit(message(chunk(0, 1, value=b"x" * 1000)))
    assert len(pool.works) == 1
    with pytest.raises(MessageRejected):
        step.submit(message(chunk(1, 1)))


def test_busy_workers_reject(pool: HandPool, step: RunInWorkers) -> None:
    pool.has_room = False
    with pytest.raises(MessageRejected):
        step.submit(message(chunk(0, 1)))
    assert pool.works == []


def test_a_full_holding_rejects(pool: HandPool, kept: Kept) -> None:
    holding = HandHolding()
    step = RunInWorkers(pool, kept, max_in_flight_bytes=100, holding=holding)  # type: ignore[arg-type]  # both by hand
    step.submit(message(chunk(0, 1)))
    holding.is_full = True
    with pytest.raises(MessageRejected):
        step.submit(message(chunk(1, 1)))
    holding.is_full = False
    step.submit(message(chunk(1, 1)))
    assert len(pool.works) == 2


def test_a_prefix_that_the_next_step_rejects_is_held(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    kept.refusing = True
    step.submit(message(chunk(0, 1)))
    pool.works[0].settle(0)
    step.poll()
    assert kept.commits == []
    assert not step.idle
    kept.refusing = False
    step.poll()
    assert kept.commits == [{partition(): 1}]
    assert step.idle


def test_join_drains_messages_that_settle_in_time(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 2)))

    def settle_all() -> None:
        for index in range(2):
            pool.works[0].settle(index)

    pool.on_wait = settle_all
    step.close()
    step.join(30.0)
    assert kept.commits == [{partition(): 2}]
    assert pool.abandoned == []


def test_join_gives_up_the_rest_and_names_it_where_others_have_passed_it(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 3)))
    step.submit(message(chunk(3, 4)))
    step.submit(message(chunk(7, 2)))
    step.submit(message(chunk(0, 2, index=1)))
    pool.works[0].settle(0)
    pool.works[0].reject(2, "invalid_json", "")
    pool.works[1].settle(2)
    pool.works[1].reject(0, "invalid_json", "")
    step.poll()
    step.close()
    step.join(0.0)
    # Nothing has passed the last two chunks: they are not named.
    assert kept.commits == [{partition(): 1}, {partition(): 6}]
    rest = kept.messages[1].payload
    assert rest.left == [1, 4]
    assert [letter.record.offset for letter in rest.dead_letters] == [2, 3]
    assert pool.abandoned == pool.works
    pool.works[0].settle(1)
    step.poll()
    assert len(kept.commits) == 2, "a later receipt must be dropped"


def test_join_names_nothing_where_the_log_became_shorter(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(5, 3)))
    step.submit(message(chunk(6, 5)))
    pool.works[0].settle(2)
    step.join(0.0)
    assert kept.commits == []


def test_join_names_nothing_behind_a_prefix_that_the_next_step_rejects(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    kept.refusing = True
    step.submit(message(chunk(0, 3)))
    pool.works[0].settle(0)
    pool.works[0].settle(2)
    step.join(0.0)
    kept.refusing = False
    step.poll()
    assert kept.commits == []


def test_join_does_not_wait_for_workers_that_cannot_boot(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 1)))
    pool.is_hopeless = True
    step.join(None)
    assert kept.commits == []
    assert pool.abandoned == [pool.works[0]]


def test_abandoned_work_is_neither_awaited_nor_committed(
    pool: HandPool, kept: Kept, step: RunInWorkers
) -> None:
    step.submit(message(chunk(0, 3)))
    pool.works[0].settle(1)
    step.abandon()
    pool.works[0].settle(0)
    step.join(None)
    assert kept.commits == []
    assert pool.abandoned == [pool.works[0]]


def test_terminate_commits_nothing(pool: HandPool, kept: Kept, step: RunInWorkers) -> None:
    step.submit(message(chunk(0, 1)))
    step.terminate()
    pool.works[0].settle(0)
    step.poll()
    assert kept.commits == []
    assert pool.abandoned == [pool.works[0]]


def test_a_closed_step_takes_nothing(step: RunInWorkers) -> None:
    step.close()
    with pytest.raises(MessageRejected):
        step.submit(message(chunk(0, 1)))
