"""Where a run's messages come from: a consumer group on Kafka, or chunks from anywhere else.

Chunks from elsewhere (a recording, a filtered dead-letter topic, a test) keep their original
offsets and go through the same loop and steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import structlog
from arroyo.backends.abstract import Consumer
from arroyo.types import BrokerValue, Partition, Topic

from consumer_fleet.errors import ConfigurationError, FleetError, RecordingError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.clients import consumer_config
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.consumer import ChunkConsumer, OnAssign, OnRevoke
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.kafka.receive_limit import with_room_for
from consumer_fleet.kafka.starting_offsets import OffsetPolicy
from consumer_fleet.kafka.topic_watch import TopicIdentity, TopicWatch, ends_of, identity_of
from consumer_fleet.metrics import incr

log = structlog.get_logger(__name__)

_MAX_WAIT_S: Final = 0.05
_ENDS_INTERVAL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Hooks:
    """A run's own part in its source, which calls ``on_poll`` at each poll."""

    on_poll: Callable[[], None]
    on_failure: Callable[[FleetError], None]
    on_partitions_lost: Callable[[], None]
    wait: Callable[[float], None]
    #: Whether a poll may wait for messages.
    may_wait: bool = True


class Rest(NamedTuple):
    """The messages that are left, and the share that is done, from 0 to 1; None if unknown."""

    left: int | None
    share: float | None


@dataclass(frozen=True, slots=True)
class Length:
    """How long a source is: ``total`` messages, or else a function for the share that is read."""

    total: int | None = None
    read: Callable[[], float] | None = None

    def rest(self, settled: int) -> Rest:
        if self.total:
            return Rest(max(0, self.total - settled), min(1.0, settled / self.total))
        return Rest(self.total, None if self.read is None else min(1.0, self.read()))


# -- a consumer group ------------------------------------------------------------------------------


def _ignore_lost(_partition: Partition, _messages: int) -> None:
    """A person has purged them."""


@dataclass
class GroupSource:
    """A topic that is read as a member of a consumer group.

    ``stop_at`` is where the run ends: these offsets, or the end offsets at the start; None for a
    run without end. ``is_replayed`` says for a run that was stopped whether it was done all the
    same. ``patient`` waits without limit for brokers that do not answer.
    """

    kafka: Mapping[str, Any]
    topic: str
    group: str
    offset_policy: OffsetPolicy = "earliest"
    stop_at: Mapping[Partition, int] | Literal["end"] | None = None
    patient: bool = False
    on_offsets_lost: Callable[[Partition, int], None] = _ignore_lost
    length: Length | None = None
    is_replayed: Callable[[], bool] = lambda: False
    shared_cluster: Cluster | None = None
    #: Set by ``wait``.
    partitions: int = field(default=0, init=False)
    consumer: ChunkConsumer | None = field(default=None, init=False)
    _identity: TopicIdentity = field(default=TopicIdentity(), init=False)

    def __post_init__(self) -> None:
        self.cluster = self.shared_cluster or Cluster(self.kafka)
        self._ends = TopicWatch(self.cluster, ends_of(self.topic, self._assigned, _ENDS_INTERVAL_S))

    def _assigned(self) -> list[int]:
        return [] if self.consumer is None else [each.index for each in self.consumer.settled()]

    @property
    def has_end(self) -> bool:
        return self.stop_at is not None

    def wait(self, pause: Callable[[float], None], given_up: Callable[[], bool]) -> None:
        """Block until the brokers answer. Raises ConfigurationError if there is no such topic."""
        if self.patient:
            self.cluster.wait_until_reachable(wait=pause, given_up=given_up)
        else:
            self.cluster.check_reachable()
        if not given_up():
            self.partitions = self.cluster.partitions(self.topic)

    def open(self, hooks: Hooks) -> ChunkConsumer:
        ends = self.cluster.end_offsets(self.topic) if self.stop_at == "end" else self.stop_at
        watch = TopicWatch(self.cluster, identity_of(self.topic))
        self._identity = watch.wait()

        def on_poll() -> None:
            hooks.on_poll()
            self._check_topic(watch.current(), hooks)

        self.consumer = ChunkConsumer(
            consumer_config(
                with_room_for(self.kafka, self.cluster.largest_message(self.topic)), self.group
            ),
            offset_policy=self.offset_policy,
            on_failure=hooks.on_failure,
            on_poll=on_poll,
            on_offsets_lost=self.on_offsets_lost,
            on_partitions_lost=hooks.on_partitions_lost,
            ends=ends,
        )
        if not hooks.may_wait:
            self.consumer.max_wait_s = self.consumer.idle_wait_s = 0.0
        self.consumer.use_topic(self._identity.topic_id)
        return self.consumer

    def _check_topic(self, now: TopicIdentity, hooks: Hooks) -> None:
        """End the run where the topic was deleted; begin again where another one has its name."""
        before, self._identity = self._identity, now
        if now.is_deleted:
            hooks.on_failure(
                ConfigurationError(
                    f"the topic {self.topic!r} was deleted: create it, or name another one with "
                    "--physical-topic"
                )
            )
        if self.consumer is None or before.topic_id == now.topic_id:
            return
        if not before.topic_id:
            self.consumer.use_topic(now.topic_id)
        elif self.has_end:
            hooks.on_failure(
                ConfigurationError(
                    f"the topic {self.topic!r} was deleted and created again during the run: its "
                    "end is another one now. Run again"
                )
            )
        else:
            incr("consumer.topic_recreated")
            log.error(
                "topic_recreated",
                topic=self.topic,
                old_id=before.topic_id,
                new_id=now.topic_id,
                partitions=now.partitions,
                partitions_before=before.partitions,
                what_now=f"reading the new one, from {self.offset_policy}; those of its messages "
                "that were delivered in the seconds before this are sent again",
            )
            self.consumer.start_over(now.topic_id)

    def lag(self) -> dict[Partition, int]:
        """Waiting messages of each assigned partition. Never blocks.

        While reading is paused nothing is fetched, so the brokers are asked for the ends.
        """
        consumer = self.consumer
        if consumer is None:
            return {}
        lag = consumer.lag()
        if consumer.paused() or consumer.open_offsets.full:
            ends = self._ends.current()
            for partition, settled in consumer.settled().items():
                waiting = ends.get(partition.index, 0) - settled
                lag[partition] = max(lag.get(partition, 0), waiting)
        return lag

    def rest(self, settled: int) -> Rest:
        """Return the lag of this member, unknown without partitions, or the rest of ``length``."""
        if self.length is not None:
            return self.length.rest(settled)
        lag = self.lag()
        return Rest(sum(lag.values()) if lag else None, None)

    def is_settled(self, _settled: int) -> bool:
        return self.is_replayed()


# -- chunks from anywhere else ---------------------------------------------------------------------


@dataclass
class LocalSource:
    """Chunks of one topic from an iterator; ``partitions`` is how many the topic has."""

    topic: str
    partitions: int
    chunks: Iterator[Chunk | None]
    length: Length = field(default_factory=Length)
    consumer: LocalChunkConsumer | None = field(default=None, init=False)

    has_end = True

    def wait(self, pause: Callable[[float], None], given_up: Callable[[], bool]) -> None:
        """Return at once: it is ready."""

    def open(self, hooks: Hooks) -> LocalChunkConsumer:
        self.consumer = LocalChunkConsumer(Topic(self.topic), self.partitions, self.chunks, hooks)
        return self.consumer

    def rest(self, settled: int) -> Rest:
        return self.length.rest(settled)

    def is_settled(self, settled: int) -> bool:
        return self.consumer is not None and self.consumer.at_end and settled >= self.consumer.given

    @property
    def settled(self) -> dict[int, int]:
        """Partition → the offset that the next run would begin with."""
        if self.consumer is None:
            return {}
        return {each.index: offset for each, offset in sorted(self.consumer.settled.items())}


class LocalChunkConsumer(Consumer[Chunk]):
    """Arroyo's consumer over the chunks of one topic, which come from an iterator.

    There is one assignment, of all partitions; nothing rebalances, and seeking is not needed. At
    most one chunk is read ahead of what arroyo takes: whatever a file's size, it stays on disk.

    An iterator that gives None has nothing now and is asked again. One that raises a FleetError has
    ended; ``on_failure`` gets it, so that what came before is settled in order.
    """

    def __init__(
        self, topic: Topic, partitions: int, chunks: Iterator[Chunk | None], hooks: Hooks
    ) -> None:
        self._chunks = chunks
        self._hooks = hooks
        self._positions = {Partition(topic, index): 0 for index in range(partitions)}
        self._paused: set[Partition] = set()
        self._on_assign: OnAssign | None = None
        self._on_revoke: OnRevoke | None = None
        self._closed = False
        #: Messages that were given out.
        self.given = 0
        #: Whether the iterator has ended.
        self.at_end = False
        #: Partition → the offset up to which it is settled, for those where anything is.
        self.settled: dict[Partition, int] = {}
        # The same, but what was set aside counts as settled.
        self._passed: dict[Partition, int] = {}
        #: What was set aside; the workers' pool adds to it.
        self.open_offsets = OpenOffsets()

    def subscribe(
        self,
        topics: Sequence[Topic],
        on_assign: OnAssign | None = None,
        on_revoke: OnRevoke | None = None,
    ) -> None:
        """The first ``poll`` makes the assignment, as Kafka's consumer does."""
        self._on_assign, self._on_revoke = on_assign, on_revoke

    def unsubscribe(self) -> None:
        """There is no group to leave."""

    def poll(self, timeout: float | None = None) -> BrokerValue[Chunk] | None:
        """Return the next chunk, or None after at most 50 ms and the iterator's own time."""
        self._hooks.on_poll()
        if self._on_assign is not None:
            on_assign, self._on_assign = self._on_assign, None
            on_assign(self._positions)
        waits = self._paused or self.open_offsets.full
        chunk = None if waits or self.at_end else self._next()
        if chunk is None:
            # A loop around it must not spin.
            longest_s = _MAX_WAIT_S if self._hooks.may_wait else 0.0
            self._hooks.wait(longest_s if timeout is None else min(timeout, longest_s))
            return None
        value: BrokerValue[Chunk] = chunk.as_broker_value()
        self._positions[chunk.partition] = value.next_offset
        self.given += len(chunk.records)
        return value

    def _next(self) -> Chunk | None:
        try:
            chunk = next(self._chunks)
            if chunk is not None:
                self._check(chunk.partition)
        except StopIteration:
            self.at_end = True
        except FleetError as error:
            self.at_end = True
            self._hooks.on_failure(error)
        else:
            return chunk
        return None

    def _check(self, partition: Partition) -> None:
        if partition not in self._positions:
            topic = next(iter(self._positions)).topic.name
            raise RecordingError(
                f"{topic!r} has {len(self._positions)} partitions by its header, but there is a "
                f"message of partition {partition.index} of {partition.topic.name!r}"
            )

    def pause(self, partitions: Sequence[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._paused.difference_update(partitions)

    def paused(self) -> Sequence[Partition]:
        return list(self._paused)

    def tell(self) -> Mapping[Partition, int]:
        return self._positions

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """The iterator goes forward only."""

    def stage_offsets(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            self._passed[partition] = max(offset, self._passed.get(partition, 0))
            self.open_offsets.passed(partition, self._passed[partition])
        for partition in (*offsets, *self.open_offsets.take_changed()):
            passed = self._passed.get(partition, 0)
            self.settled[partition] = self.open_offsets.commit_of(partition, passed, "")[0]

    def commit_offsets(self) -> Mapping[Partition, int]:
        return self.settled

    def seen_until_ms(self) -> None:
        """Unknown: what is read is not in the order of time, and ends soon."""

    def close(self, timeout: float | None = None) -> None:
        if not self._closed and self._on_revoke is not None:
            self._on_revoke(list(self._positions))
        self._closed = True

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def member_id(self) -> str:
        return "local"
