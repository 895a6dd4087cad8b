"""A topic in memory for arroyo's local broker: chunks from anywhere, at their original offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from arroyo.backends.local.backend import LocalBroker, LocalConsumer
from arroyo.backends.local.storages.abstract import MessageStorage, TopicDoesNotExist
from arroyo.types import BrokerValue, Partition, Topic

from consumer_fleet.errors import FleetError, RecordingError
from consumer_fleet.kafka.chunk import Chunk

_MAX_WAIT_S = 0.05


class LocalTopic(MessageStorage[Chunk]):
    """One topic whose chunks come from an iterator, each when the consumer is ready for it.

    The broker's consumer asks partition by partition. It gets the chunks in the order of the
    iterator all the same: whatever the file's size, one chunk is held here. Seeking back is not
    possible, nor needed: nothing but this process reads it, and nothing rebalances.

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
            # One look per round of the partitions: a source that has nothing may take its time.
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
        """The broker would never ask for one that is not of the topic, and wait for ever."""
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
        raise NotImplementedError("its messages come from the iterator alone")


class LocalChunkConsumer(LocalConsumer[Chunk]):
    """Arroyo's local consumer, which does not wait, made to: a loop around it must not spin.

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
        """The next chunk, or None after at most 50 ms and what the iterator itself takes."""
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
        """The iterator has ended, and every chunk was given out."""
        return self._topic.at_end
