"""Where a run's messages come from: a consumer group on Kafka, or chunks from anywhere else.

Chunks from elsewhere (a recording, a filtered dead-letter topic, a test) go through arroyo's local
broker, at their original offsets, so that the loop and the steps are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from arroyo.backends.local.backend import LocalBroker, LocalConsumer
from arroyo.backends.local.storages.abstract import MessageStorage, TopicDoesNotExist
from arroyo.types import BrokerValue, Partition, Topic

from consumer_fleet.errors import FleetError, RecordingError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.clients import consumer_config
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.positions import OffsetPolicy

_MAX_WAIT_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Hooks:
    """A run's own part in its source, which calls ``on_poll`` at each poll."""

    on_poll: Callable[[], None]
    on_failure: Callable[[FleetError], None]
    on_partitions_lost: Callable[[], None]
    wait: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Length:
    """How long a source is: ``total`` messages, or else a function for the share that is read."""

    total: int | None = None
    read: Callable[[], float] | None = None

    def left(self, settled: int) -> int | None:
        return None if self.total is None else max(0, self.total - settled)

    def share(self, settled: int) -> float | None:
        if self.total:
            return min(1.0, settled / self.total)
        return None if self.read is None else min(1.0, self.read())


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
    #: Set by ``wait``.
    partitions: int = field(default=0, init=False)
    consumer: ChunkConsumer | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.kafka)

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
        self.consumer = ChunkConsumer(
            consumer_config(self.kafka, self.group),
            offset_policy=self.offset_policy,
            on_failure=hooks.on_failure,
            on_poll=hooks.on_poll,
            on_offsets_lost=self.on_offsets_lost,
            on_partitions_lost=hooks.on_partitions_lost,
            ends=ends,
        )
        return self.consumer

    def left(self, settled: int) -> int | None:
        """Return the lag of this member, or the rest of ``length``."""
        if self.length is not None:
            return self.length.left(settled)
        return 0 if self.consumer is None else sum(self.consumer.lag().values())

    def share(self, settled: int) -> float | None:
        return None if self.length is None else self.length.share(settled)

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
        topic = LocalTopic(
            Topic(self.topic), self.partitions, self.chunks, on_failure=hooks.on_failure
        )
        self.consumer = LocalChunkConsumer(topic, on_poll=hooks.on_poll, wait=hooks.wait)
        return self.consumer

    def left(self, settled: int) -> int | None:
        return self.length.left(settled)

    def share(self, settled: int) -> float | None:
        return self.length.share(settled)

    def is_settled(self, settled: int) -> bool:
        return self.consumer is not None and self.consumer.at_end and settled >= self.consumer.given

    @property
    def settled(self) -> dict[int, int]:
        """Partition → the offset that the next run would begin with."""
        if self.consumer is None:
            return {}
        return {each.index: offset for each, offset in sorted(self.consumer.settled.items())}


class LocalTopic(MessageStorage[Chunk]):
    """One topic whose chunks come from an iterator, each when the consumer is ready for it.

    The broker's consumer asks partition by partition. It still gets the chunks in the order of the
    iterator: whatever the file's size, one chunk is held here. Seeking back is not possible, nor
    needed: nothing but this process reads it, and nothing rebalances.

    An iterator that gives None has nothing now and is asked again. One that raises a FleetError
    has ended; ``on_failure`` gets it, so that what came before is settled in order.
    """

    def __init__(
        self,
        topic: Topic,
        partitions: int,
        chunks: Iterator[Chunk | None],
        *,
        on_failure: Callable[[FleetError], None],
    ) -> None:
        self.topic = topic
        self._partitions = partitions
        self._chunks = chunks
        self._on_failure = on_failure
        self._ready: Chunk | None = None
        self._exhausted = False
        #: Messages that were given out.
        self.given = 0

    @property
    def at_end(self) -> bool:
        return self._exhausted and self._ready is None

    def consume(self, partition: Partition, offset: int) -> BrokerValue[Chunk] | None:
        if self._ready is None:
            # Ask once per round of the partitions: a source that has nothing may take its time.
            if partition.index > 0:
                return None
            self._ready = self._next()
        if self._ready is None or self._ready.partition != partition:
            return None
        chunk, self._ready = self._ready, None
        self.given += len(chunk.records)
        return chunk.as_broker_value()

    def _next(self) -> Chunk | None:
        if self._exhausted:
            return None
        try:
            chunk = next(self._chunks)
            if chunk is not None:
                self._check(chunk.partition)
        except StopIteration:
            self._exhausted = True
            return None
        except FleetError as error:
            self._exhausted = True
            self._on_failure(error)
            return None
        return chunk

    def _check(self, partition: Partition) -> None:
        """The broker would never ask for a partition that the topic lacks, and wait forever."""
        if partition.topic != self.topic or partition.index >= self._partitions:
            raise RecordingError(
                f"{self.topic.name!r} has {self._partitions} partitions by its header, but there "
                f"is a message of partition {partition.index} of {partition.topic.name!r}"
            )

    def get_partition_count(self, topic: Topic) -> int:
        if topic != self.topic:
            raise TopicDoesNotExist(topic)
        return self._partitions

    def list_topics(self) -> Iterator[Topic]:
        yield self.topic

    def create_topic(self, topic: Topic, partitions: int) -> None:
        raise NotImplementedError("there is one topic, from the start")

    def delete_topic(self, topic: Topic) -> None:
        raise NotImplementedError("the topic goes with its storage")

    def produce(
        self, partition: Partition, payload: Chunk, timestamp: datetime
    ) -> BrokerValue[Chunk]:
        raise NotImplementedError("messages come from the iterator alone")


class LocalChunkConsumer(LocalConsumer[Chunk]):
    """Arroyo's local consumer, which never waits, made to: a loop around it must not spin.

    ``on_poll`` is called at each poll; ``wait(seconds)`` passes the time where there is no chunk.
    """

    def __init__(
        self,
        topic: LocalTopic,
        *,
        on_poll: Callable[[], None],
        wait: Callable[[float], None],
    ) -> None:
        super().__init__(LocalBroker(topic), "replay")
        self._topic = topic
        self._on_poll = on_poll
        self._wait = wait
        #: Partition → the offset up to which it is settled, for those where anything is.
        self.settled: dict[Partition, int] = {}

    def poll(self, timeout: float | None = None) -> BrokerValue[Chunk] | None:
        """Return the next chunk, or None after at most 50 ms and the iterator's own time."""
        self._on_poll()
        value = super().poll(timeout)
        if value is None:
            self._wait(_MAX_WAIT_S if timeout is None else min(timeout, _MAX_WAIT_S))
        return value

    def stage_offsets(self, offsets: Mapping[Partition, int]) -> None:
        super().stage_offsets(offsets)
        self.settled.update(offsets)

    @property
    def given(self) -> int:
        """Messages that were given out."""
        return self._topic.given

    @property
    def at_end(self) -> bool:
        """Whether the iterator has ended and every chunk was given out."""
        return self._topic.at_end
