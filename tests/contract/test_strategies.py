"""One suite over every step in strategies/, and over the whole chain with arroyo's CommitOffsets.

Arroyo drives steps by one contract; these are the parts of it that messages depend on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from arroyo.processing.strategies import CommitOffsets
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.types import Message, Partition, Value

from consumer_fleet.kafka.chunk import DeadLetter
from consumer_fleet.kafka.dead_letters import Ticket
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.strategies.dead_letter import KeepDeadLetters
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.strategies.run_in_workers import RunInWorkers, Settled
from consumer_fleet.worker.work import Work
from tests.support.clock import ManualClock
from tests.support.records import chunk, message, partition, record

BUDGET_BYTES = 10_000


class HandPool:
    """Takes work; waiting takes its time and, where the test says so, settles."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.works: list[Work] = []
        self.has_room = True
        self.is_hopeless = False
        self.open_offsets = OpenOffsets()
        self.settles_while_waiting = False
        self.polls = 0

    def submit(self, work: Work) -> None:
        self.works.append(work)

    def poll(self) -> None:
        self.polls += 1

    def wait(self, timeout_s: float) -> None:
        self._clock.now += timeout_s
        if self.settles_while_waiting:
            self.settle_all()

    def settle_all(self) -> None:
        for work in self.works:
            for index in range(len(work.chunk.records)):
                work.settle(index)

    def drain(self) -> None:
        pass

    def abandon(self, works: list[Work]) -> None:
        self.works = [work for work in self.works if work not in works]


class HandProducer:
    """Holds dead letters; waiting takes its time and, where the test says so, keeps them."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.tickets: list[Ticket] = []
        self.keeps_while_waiting = False
        self.polls = 0
        self.idle = True
        self.is_off = False
        self.is_off = False

    def produce(self, _: Partition, letter: DeadLetter) -> Ticket:
        self.tickets.append(Ticket(letter, []))
        return self.tickets[-1]

    def poll(self, timeout_s: float = 0.0) -> None:
        self.polls += 1
        self._clock.now += timeout_s
        if self.keeps_while_waiting and timeout_s:
            self.keep_all()

    def keep_all(self) -> None:
        for ticket in self.tickets:
            ticket.kept = True

    def forget_all(self) -> None:
        self.tickets.clear()


class Last(ProcessingStrategy[Any]):
    """The step after: notes every call, and refuses where the test says so."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refusing = False
        self.offsets: list[Mapping[Partition, int]] = []
        self.timeouts: list[float | None] = []

    def submit(self, message: Message[Any]) -> None:
        assert "close" not in self.calls, "it was closed before it had everything"
        if self.refusing:
            raise MessageRejected
        self.offsets.append(message.committable)

    def poll(self) -> None:
        self.calls.append("poll")

    def close(self) -> None:
        self.calls.append("close")

    def terminate(self) -> None:
        self.calls.append("terminate")

    def join(self, timeout: float | None = None) -> None:
        assert "close" in self.calls, "it was joined before it was closed"
        self.calls.append("join")
        self.timeouts.append(timeout)


class Rig(ABC):
    """One step between the test and the last one. A test's message has three Kafka messages."""

    step: ProcessingStrategy[Any]

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        for module in (
            "consumer_fleet.strategies.run_in_workers",
            "consumer_fleet.strategies.dead_letter",
        ):
            monkeypatch.setattr(f"{module}.monotonic", self.clock)
        self.pool = HandPool(self.clock)
        self.producer = HandProducer(self.clock)
        self.last = Last()

    @abstractmethod
    def message(self, first: int) -> Message[Any]:
        """Messages ``first`` to ``first + 2``."""

    @abstractmethod
    def fill(self) -> None:
        """Make the step reject."""

    @abstractmethod
    def settle(self) -> None:
        """Let everything that the step has be settled, as of its next poll."""

    @abstractmethod
    def settle_while_joining(self) -> None: ...

    @property
    def committed(self) -> int | None:
        """The newest offset that has left the step."""
        return self.last.offsets[-1][partition()] if self.last.offsets else None

    def taken(self) -> int:
        """How many messages the step has taken."""
        return len(self.pool.works)


class WorkersRig(Rig):
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.step = RunInWorkers(
            self.pool,  # type: ignore[arg-type]  # a hand-driven pool
            self.last,
            max_in_flight_bytes=BUDGET_BYTES,
        )

    def message(self, first: int) -> Message[Any]:
        return message(chunk(first, 3))

    def fill(self) -> None:
        self.pool.has_room = False

    def settle(self) -> None:
        self.pool.has_room = True
        self.pool.settle_all()

    def settle_while_joining(self) -> None:
        self.pool.settles_while_waiting = True


class DeadLettersRig(Rig):
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.step = KeepDeadLetters(self.producer, self.last)

    def message(self, first: int) -> Message[Any]:
        letters = tuple(DeadLetter(record(first + n), "bad", "") for n in range(3))
        return Message(Value(Settled(letters), {partition(): first + 3}))

    def fill(self) -> None:
        for first in range(1000, 10_000, 3):
            try:
                self.step.submit(self.message(first))
            except MessageRejected:
                return
        raise AssertionError("it never rejects")

    def settle(self) -> None:
        self.producer.keep_all()

    def settle_while_joining(self) -> None:
        self.producer.keeps_while_waiting = True

    def taken(self) -> int:
        return len(self.producer.tickets) // 3


class ChainRig(WorkersRig):
    """All steps, as the pipeline puts them together, down to the commit function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.forced: list[bool] = []
        pipeline = Pipeline(
            self.pool,  # type: ignore[arg-type]  # hand-driven
            self.producer,
            max_in_flight_bytes=BUDGET_BYTES,
        )
        self.pipeline = pipeline
        self.step = pipeline.create_with_partitions(self._commit, {partition(): 0})

    def _commit(self, offsets: Mapping[Partition, int], force: bool = False) -> None:
        self.forced.append(force)
        if not offsets:
            self.last.poll()
        else:
            self.last.offsets.append(offsets)


RIGS = (WorkersRig, DeadLettersRig, ChainRig)


@pytest.fixture(params=RIGS, ids=lambda rig: rig.__name__)
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rig:
    made: Rig = request.param(monkeypatch)
    return made


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> ChainRig:
    return ChainRig(monkeypatch)


def submit_all(rig: Rig, firsts: Sequence[int]) -> None:
    for first in firsts:
        rig.step.submit(rig.message(first))


def test_what_is_settled_leaves_in_order(rig: Rig) -> None:
    submit_all(rig, [0, 3, 6])
    rig.step.poll()
    assert rig.committed is None
    rig.settle()
    rig.step.poll()
    assert rig.committed == 9
    offsets = [each[partition()] for each in rig.last.offsets]
    assert offsets == sorted(offsets)


def test_a_poll_reaches_the_next_step(rig: Rig) -> None:
    rig.step.poll()
    assert rig.last.calls == ["poll"]


def test_a_closed_step_takes_nothing(rig: Rig) -> None:
    rig.step.close()
    with pytest.raises((MessageRejected, AssertionError)):
        rig.step.submit(rig.message(0))
    assert rig.taken() == 0


def test_close_neither_waits_nor_gives_anything_up(rig: Rig) -> None:
    rig.step.submit(rig.message(0))
    rig.step.close()
    assert rig.clock.now == 0.0
    rig.settle()
    rig.step.join(0.0)
    assert rig.committed == 3


@pytest.mark.parametrize("timeout_s", [0.0, 1.0, 5.0])
def test_a_join_ends_in_time_and_commits_nothing_that_is_not_settled(
    rig: Rig, timeout_s: float
) -> None:
    rig.step.submit(rig.message(0))
    rig.step.close()
    rig.step.join(timeout_s)
    assert rig.clock.now <= timeout_s + 0.1
    assert rig.committed is None
    rig.settle()
    rig.step.poll()
    assert rig.committed is None, "it is its next owner's by now"


@pytest.mark.parametrize("make", [WorkersRig, DeadLettersRig])
def test_the_next_steps_get_the_rest_of_a_joins_time(
    make: type[Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make(monkeypatch)
    rig.step.submit(rig.message(0))
    rig.step.close()
    rig.step.join(10.0)
    (left,) = rig.last.timeouts
    assert left == pytest.approx(10.0 - rig.clock.now)
    assert rig.last.calls[-2:] == ["close", "join"]


@pytest.mark.parametrize("timeout_s", [None, 30.0])
def test_a_join_waits_for_what_settles_in_time(rig: Rig, timeout_s: float | None) -> None:
    submit_all(rig, [0, 3])
    rig.settle_while_joining()
    rig.step.close()
    rig.step.join(timeout_s)
    assert rig.committed == 6
    assert rig.clock.now < 1.0, "it went on waiting"


def test_what_is_settled_when_a_join_begins_is_committed_however_short_it_is(rig: Rig) -> None:
    submit_all(rig, [0, 3])
    rig.settle()
    rig.step.close()
    rig.step.join(0.0)
    assert rig.committed == 6


def test_a_terminated_step_commits_nothing(rig: Rig) -> None:
    rig.step.submit(rig.message(0))
    rig.settle()
    rig.step.terminate()
    rig.step.poll()
    assert rig.committed is None
    with pytest.raises((MessageRejected, AssertionError)):
        rig.step.submit(rig.message(3))
    if not isinstance(rig, ChainRig):
        assert "terminate" in rig.last.calls


def test_a_rejected_message_leaves_the_step_as_it_was(rig: Rig) -> None:
    rig.fill()
    before = rig.taken()
    again = rig.message(0)
    for _ in range(3):
        with pytest.raises(MessageRejected):
            rig.step.submit(again)
    assert rig.taken() == before
    rig.settle()
    rig.step.poll()
    passed = len(rig.last.offsets)
    rig.step.submit(again)
    assert rig.taken() == before + 1
    rig.settle()
    rig.step.poll()
    assert rig.last.offsets[passed:] == [{partition(): 3}], "once, and once only"


def test_what_a_join_gives_up_is_named_open_below_what_is_settled(chain: ChainRig) -> None:
    chain.step.submit(chain.message(0))
    chain.step.submit(chain.message(3))
    chain.pool.works[0].settle(0)
    chain.pool.works[0].settle(1)
    chain.pool.works[1].settle(0)
    chain.step.close()
    chain.step.join(5.0)
    assert chain.committed == 4
    committed, metadata = chain.pool.open_offsets.commit_of(partition(), 4, "")
    assert committed == 2
    assert metadata.startswith("held=4:1 "), "2 is the only one below 4 that is not settled"
    assert chain.forced[-1], "what is staged must be committed before the partitions go"


def test_a_dead_letter_holds_the_commit_until_it_is_stored(chain: ChainRig) -> None:
    chain.step.submit(chain.message(0))
    work = chain.pool.works[0]
    work.settle(0)
    work.reject(1, "bad", "")
    work.settle(2)
    chain.step.poll()
    assert chain.committed is None
    assert len(chain.producer.tickets) == 1
    chain.producer.keep_all()
    chain.step.poll()
    assert chain.committed == 3


def reject_for_ever(chain: ChainRig) -> int:
    """Submit messages that are all rejected until the chain pauses; return their number."""
    for count in range(10_000):
        try:
            chain.step.submit(chain.message(3 * count))
        except MessageRejected:
            return count
        for index in range(3):
            chain.pool.works[-1].reject(index, "bad", "")
        chain.step.poll()
    raise AssertionError("it takes messages without bound")


def test_a_dead_letter_topic_that_takes_nothing_pauses_the_chain(chain: ChainRig) -> None:
    taken = reject_for_ever(chain)
    assert chain.committed is None
    chain.producer.keep_all()
    chain.step.poll()
    chain.producer.keep_all()
    chain.step.poll()
    assert chain.committed == taken * 3, "nothing was dropped"
    chain.step.submit(chain.message(taken * 3))


def test_large_dead_letters_pause_the_chain_by_their_bytes(
    chain: ChainRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = reject_for_ever(chain)
    monkeypatch.setattr("consumer_fleet.strategies.dead_letter._MAX_WAITING_BYTES", 50)
    for _ in range(3):
        chain.producer.keep_all()
        chain.step.poll()
        chain.producer.keep_all()
        chain.step.poll()
        assert 0 < reject_for_ever(chain) < few, "bytes that are kept no longer count"


def test_what_is_held_for_the_next_step_is_given_up_with_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = WorkersRig(monkeypatch)
    rig.last.refusing = True
    rig.step.submit(rig.message(0))
    rig.settle()
    rig.step.poll()
    rig.step.terminate()
    rig.last.refusing = False
    rig.step.poll()
    assert rig.committed is None


def test_idle_means_settled_and_stored(chain: ChainRig) -> None:
    assert chain.pipeline.idle
    chain.step.submit(chain.message(0))
    assert not chain.pipeline.idle
    chain.pool.works[0].reject(0, "bad", "")
    chain.pool.settle_all()
    chain.producer.idle = False
    chain.step.poll()
    assert not chain.pipeline.idle
    chain.producer.idle = True
    assert chain.pipeline.idle


def test_a_chunk_that_was_rejected_is_still_to_come(chain: ChainRig) -> None:
    chain.pool.has_room = False
    with pytest.raises(MessageRejected):
        chain.step.submit(chain.message(0))
    assert not chain.pipeline.idle, "a run that stops at its end would leave it behind"
    chain.pool.has_room = True
    chain.step.submit(chain.message(0))
    chain.settle()
    chain.step.poll()
    assert chain.pipeline.idle


def test_the_chain_ends_in_arroyos_commit() -> None:
    commits: list[tuple[Mapping[Partition, int], bool]] = []
    last = CommitOffsets(lambda offsets, force=False: commits.append((offsets, force)))
    last.submit(Message(Value(None, {partition(): 5})))
    last.poll()
    last.close()
    last.join(0.0)
    assert commits == [({partition(): 5}, False), ({}, False), ({}, True)]
