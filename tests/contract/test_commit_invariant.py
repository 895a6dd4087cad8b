"""Commit-ahead never, whatever happens: the real pipeline in a simulated group, by seed.

Real are arroyo's StreamProcessor, the chunk consumer, the pipeline's steps and the dead letter
producer. Simulated are Kafka's clients, the workers and time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.types import Partition, Topic
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer_fleet.capture.counts import DestinationStatus
from consumer_fleet.capture.held import Held, HeldKind
from consumer_fleet.errors import FleetError
from consumer_fleet.kafka.chunk import CHUNK_MESSAGES, Chunk
from consumer_fleet.kafka.clients import consumer_config
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.work import OutcomeCounts, Work
from tests.support.simulated_kafka import (
    TOPIC,
    Message,
    SimulatedClient,
    SimulatedProducer,
    World,
)

SEEDS = 200
_BUDGET_BYTES = 300


class SimulatedPool:
    """Settles messages in random order; now and then it has no room or does nothing for a while."""

    is_hopeless = False

    def __init__(self, world: World) -> None:
        self._world = world
        self._works: list[Work] = []
        self._rests_until = 0.0
        # Parked messages: others pass them, and only the commit waits.
        self.parked: set[tuple[int, int]] = set()
        self.open_offsets = OpenOffsets(world.clock.time)
        # The part of the pool that holding uses.
        self.on_held: Callable[[Work, int, Held], None] = lambda *_: None
        self.outcomes = OutcomeCounts()

    def take_over(self, open_offsets: OpenOffsets) -> Holding:
        self.open_offsets = open_offsets
        holding = Holding(
            self,  # type: ignore[arg-type]  # simulated
            hold_at_most_s=20.0,
            keeps_dead_letters=True,
        )
        open_offsets.on_forget.append(self._forget)
        return holding

    def statuses(self) -> list[DestinationStatus]:
        return [DestinationStatus("upstream", "open", len(self._world.settled), 0, 0, 0, "")]

    def _forget(self, partition: Partition, first: int) -> None:
        gone = {each for each in self.parked if each[0] == partition.index and each[1] >= first}
        self.parked -= gone

    @property
    def has_room(self) -> bool:
        resting = self._world.clock.now < self._rests_until
        return len(self._works) < 4 and not resting and not self._world.chance(0.1)

    def submit(self, work: Work) -> None:
        self._works.append(work)

    def drain(self) -> None:
        """Give up some messages, as workers do with what can't be sent at once."""
        for work in list(self._works):
            for index in range(len(work.chunk.records)):
                if not work.is_settled(index) and self._world.random.random() < 0.3:
                    work.given_up.add(index)
            self._forget_drained(work)

    def _forget_drained(self, work: Work) -> None:
        if work.is_drained:
            self._works.remove(work)

    def abandon(self, works: list[Work]) -> None:
        self._works = [work for work in self._works if work not in works]

    def wait(self, timeout_s: float) -> None:
        self._world.clock.sleep(timeout_s)

    def poll(self) -> None:
        now = self._world.clock.now
        if self._world.chance(0.005):
            self._rests_until = now + 8.0
        if now < self._rests_until:
            return
        for _ in range(self._world.random.randint(0, 12)):
            if self._works:
                self._settle_one(self._world.random.choice(self._works))
        for place in sorted(self.parked):
            if self._world.random.random() < 0.02:
                self.parked.discard(place)
                self._world.deliver(place)
                self.open_offsets.settle(Partition(Topic(TOPIC), place[0]), place[1])

    def _settle_one(self, work: Work) -> None:
        records = work.chunk.records
        index = self._world.random.choice(work.still_to_send(list(range(len(records)))))
        place = (work.chunk.partition.index, records[index].offset)
        luck = self._world.random.random()
        if self._world.parks and luck < 0.2:
            kind: HeldKind = "limited" if luck < 0.1 else "failing"
            due_s = self._world.clock.now + 100 * luck
            self.on_held(work, index, Held(kind, "upstream", "429", due_s))
        elif self._world.parks and luck < 0.3 and len(records) > 1:
            self.parked.add(place)
            work.settle(index)
            self.open_offsets.add(work.chunk.partition, records[index].offset)
        elif self._world.random.random() < 0.1:
            work.reject(index, "bad_message", "it said so")
        else:
            self._world.deliver(place)
            work.settle(index)
        self._forget_drained(work)


def consumer_on(
    world: World,
    kind: type[SimulatedClient],
    failures: list[FleetError],
    monkeypatch: pytest.MonkeyPatch,
    on_poll: Callable[[], None] = lambda: None,
    **more: Any,
) -> ChunkConsumer:
    """A consumer whose client is of this kind."""
    monkeypatch.setattr(
        "consumer_fleet.kafka.consumer.KafkaConsumer",
        lambda config, logger: kind(world, config["on_commit"]),
    )
    monkeypatch.setattr(
        "consumer_fleet.kafka.consumer.OpenOffsets", partial(OpenOffsets, world.clock.time)
    )
    protocol = {"group.protocol": "consumer"} if world.cooperative else {}
    return ChunkConsumer(
        consumer_config(protocol, "group"),
        offset_policy="earliest",
        on_failure=failures.append,
        on_poll=on_poll,
        on_offsets_lost=lambda *_: None,
        **more,
    )


class Life:
    """One run of the consumer, until its end or until it is told to stop."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, polls: int | None) -> None:
        self._world = world
        self._polls_left = polls
        self.failures: list[FleetError] = []
        self.ended = False

        monkeypatch.setattr(
            "consumer_fleet.kafka.dead_letters.Producer", lambda *_, **__: SimulatedProducer(world)
        )
        dead_letters = DeadLetterProducer({}, "dlq", "group", on_failure=self.failures.append)
        self._pool = SimulatedPool(world)
        self._pipeline = Pipeline(
            self._pool,  # type: ignore[arg-type]  # simulated
            dead_letters,
            max_in_flight_bytes=_BUDGET_BYTES,
        )
        self._consumer = consumer_on(
            world,
            SimulatedClient,
            self.failures,
            monkeypatch,
            on_poll=self._duties,
            on_partitions_lost=self._pipeline.abandon,
            ends={Partition(Topic(TOPIC), each): world.ends[each] for each in world.partitions},
        )
        self._holding = self._pipeline.holding = self._pool.take_over(self._consumer.open_offsets)
        self._processor: StreamProcessor[Chunk] = StreamProcessor(
            self._consumer,
            Topic(TOPIC),
            self._pipeline,
            ONCE_PER_SECOND,
            join_timeout=25.0 if world.orderly else world.random.choice([0.0, 3.0, 25.0]),
        )

    def _duties(self) -> None:
        if self._polls_left is not None:
            self._polls_left -= 1
            if self._polls_left <= 0:
                self._stop()
        at_end = self._consumer.at_end and self._pipeline.idle and not self._pool.parked
        if at_end and not self._holding.is_empty:
            self._holding.finish()
        elif at_end:
            self.ended = self._world.quiet = True
            self._stop()

    def _stop(self) -> None:
        self._world.stopping = True
        self._processor.signal_shutdown()

    def run(self) -> None:
        self._processor.run()
        assert self.failures == []
        assert self.ended or self._polls_left is not None


def simulate(seed: int, monkeypatch: pytest.MonkeyPatch, *, orderly: bool = False) -> World:
    source = random.Random(seed)
    unrest = source.choice([0, 2, 6])
    stops = source.choice([0, 0, 1, 3])
    world = World(source, cooperative=source.random() < 0.5, unrest=unrest, stops=stops > 0)
    world.parks = seed % 2 == 1
    world.orderly = orderly
    for module in ("arroyo.processing.processor", "arroyo.processing.strategies.commit"):
        monkeypatch.setattr(f"{module}.time", world.clock)
    monkeypatch.setattr("consumer_fleet.worker.holding.time", world.clock)
    for module in (
        "consumer_fleet.strategies.run_in_workers",
        "consumer_fleet.strategies.dead_letter",
        "consumer_fleet.kafka.dead_letters",
    ):
        monkeypatch.setattr(f"{module}.monotonic", world.clock.time)

    for _ in range(stops):
        Life(world, monkeypatch, polls=source.randint(1, 60)).run()
        world.quiet = world.stopping = False
    last = Life(world, monkeypatch, polls=None)
    last.run()
    for partition in world.left:
        assert not world.waiting(partition), "it ended before its end"
    for partition in world.partitions:
        world.elsewhere(partition, to_the_end=True)
    everything = {(p, offset) for p in world.partitions for offset in world.logs[p]}
    lost = everything - world.settled
    assert not [place for place in lost if not world.expired(place)]
    if world.calm or world.orderly:
        again = {place: count for place, count in world.deliveries.items() if count > 1}
        assert not again, "messages were sent twice without need"
    return world


def test_an_assignment_that_comes_while_the_client_closes_starts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(0), cooperative=False, unrest=0)

    class Closing(SimulatedClient):
        """A rebalance was under way. librdkafka answers no request of such a client any more."""

        def close(self) -> None:
            self._on_assign(self, [TopicPartition(TOPIC, 0)])
            super().close()

        def committed(self, targets: object, timeout: float) -> list[TopicPartition]:
            raise KafkaException(KafkaError(KafkaError._DESTROY))

    failures: list[FleetError] = []
    assigned: list[object] = []
    consumer = consumer_on(world, Closing, failures, monkeypatch)
    consumer.subscribe([Topic(TOPIC)], assigned.append)
    consumer.close()
    assert failures == []
    assert assigned == []
    assert world.left == []


def test_a_lost_position_of_a_partition_that_leaves_in_the_same_read_is_its_new_owners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(0), cooperative=True, unrest=0)

    class Moving(SimulatedClient):
        """Says that a position is lost; before the rest of the read, the partition is revoked."""

        def poll(self, timeout: float) -> Message:
            return Message((0, 0), KafkaError._AUTO_OFFSET_RESET)

        def consume(self, num_messages: int, _: float) -> list[Message]:
            if not assigned:
                self._on_assign(self, [TopicPartition(TOPIC, 0)])
            elif num_messages < CHUNK_MESSAGES:
                self._leave([])
            return []

    failures: list[FleetError] = []
    assigned: list[object] = []
    consumer = consumer_on(world, Moving, failures, monkeypatch)
    consumer.subscribe([Topic(TOPIC)], assigned.append)
    for _ in range(2):
        consumer.poll()
    assert len(assigned) == 1
    assert consumer.tell() == {}
    assert failures == []


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_committed_ahead_and_nothing_is_lost(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(seed, monkeypatch)


@pytest.mark.parametrize("seed", range(SEEDS // 2))
def test_what_was_settled_before_a_drain_is_never_sent_again(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(seed, monkeypatch, orderly=True)
