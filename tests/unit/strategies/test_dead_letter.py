"""The dead-letter step: nothing is committed before its dead letters are stored."""

from __future__ import annotations

import pytest
from arroyo.processing.strategies.abstract import MessageRejected
from arroyo.types import Message, Partition, Value

from consumer_fleet.kafka.chunk import DeadLetter
from consumer_fleet.kafka.dead_letters import Ticket
from consumer_fleet.strategies.dead_letter import KeepDeadLetters
from consumer_fleet.strategies.run_in_workers import Settled
from tests.support.records import partition, record
from tests.unit.strategies.test_run_in_workers import Kept


class HandProducer:
    """A producer whose acknowledgements the test gives."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []
        self.forgotten = False
        self.is_off = False

    def produce(self, partition: Partition, letter: DeadLetter) -> Ticket:
        ticket = Ticket(letter, [])
        self.tickets.append(ticket)
        return ticket

    def poll(self, timeout_s: float = 0.0) -> None:
        pass

    def forget_all(self) -> None:
        self.forgotten = True


def settled(next_offset: int, *rejected: int) -> Message[Settled]:
    letters = tuple(DeadLetter(record(offset), "bad", "") for offset in rejected)
    return Message(Value(Settled(letters), {partition(): next_offset}))


@pytest.fixture
def producer() -> HandProducer:
    return HandProducer()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def step(producer: HandProducer, kept: Kept) -> KeepDeadLetters:
    return KeepDeadLetters(producer, kept)  # type: ignore[arg-type]  # a hand-driven producer


def test_a_prefix_without_dead_letters_passes_at_once(kept: Kept, step: KeepDeadLetters) -> None:
    step.submit(settled(5))
    assert kept.commits == [{partition(): 5}]


def test_no_commit_before_every_dead_letter_is_acknowledged(
    producer: HandProducer, kept: Kept, step: KeepDeadLetters
) -> None:
    step.submit(settled(5, 3, 4))
    producer.tickets[0].kept = True
    step.poll()
    assert kept.commits == []
    producer.tickets[1].kept = True
    step.poll()
    assert kept.commits == [{partition(): 5}]


def test_a_clean_prefix_waits_behind_one_that_is_not_stored(
    producer: HandProducer, kept: Kept, step: KeepDeadLetters
) -> None:
    step.submit(settled(5, 4))
    step.submit(settled(6))
    assert kept.commits == []
    producer.tickets[0].kept = True
    step.poll()
    assert kept.commits == [{partition(): 5}, {partition(): 6}]


def test_a_topic_that_does_not_keep_up_pauses_and_drops_nothing(step: KeepDeadLetters) -> None:
    def submit_many() -> None:
        for offset in range(1, 1000):
            step.submit(settled(offset, offset - 1))

    with pytest.raises(MessageRejected):
        submit_many()


def test_join_does_not_wait_for_a_topic_that_does_not_exist(
    producer: HandProducer, kept: Kept, step: KeepDeadLetters
) -> None:
    producer.is_off = True
    step.submit(settled(5, 4))
    step.join(None)
    assert kept.commits == []


def test_join_does_not_commit_what_has_no_acknowledgement(
    producer: HandProducer, kept: Kept, step: KeepDeadLetters
) -> None:
    step.submit(settled(5, 4))
    step.join(0.0)
    assert kept.commits == []
    assert producer.forgotten
