"""Partitions that are not read for a while, because too much of them is set aside.

Arroyo pauses all partitions together. Where only some have messages that can't be delivered now,
the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from arroyo.types import BrokerValue, Partition
from confluent_kafka import Consumer as KafkaConsumer

from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.kafka.positions import as_targets

Assigned: TypeAlias = Callable[[], Collection[Partition]]


class FullPartitions:
    """See the module. It belongs to one client; the consumer calls it."""

    def __init__(self, client: KafkaConsumer, open_offsets: OpenOffsets) -> None:
        self._client = client
        self._open = open_offsets
        self._paused: frozenset[Partition] = frozenset()

    def begin_poll(
        self, ready: Collection[Chunk], assigned: Assigned, by_arroyo: Collection[Partition]
    ) -> bool:
        """Pause and resume what has changed, but nothing that arroyo has paused.

        Returns whether one of the chunks that were read may be handed out.
        """
        if not (self._open.full or self._paused):
            return bool(ready)
        full = self._open.full.intersection(assigned())
        if gone := full - self._paused:
            self._client.pause(as_targets(gone))
        if back := self._paused - full - set(by_arroyo):
            self._client.resume(as_targets(back))
        self._paused = full
        return any(chunk.partition not in full for chunk in ready)

    def forget(self, partitions: Collection[Partition]) -> None:
        """They are revoked: librdkafka keeps it if a partition is paused then."""
        if gone := self._paused.intersection(partitions):
            self._client.resume(as_targets(gone))
            self._paused -= gone

    def readable(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Those of the partitions that may be resumed."""
        return [each for each in partitions if each not in self._paused]

    def take(self, ready: deque[Chunk]) -> BrokerValue[Chunk] | None:
        """Take the first chunk that may be handed out, if there is one."""
        if not self._paused:
            return ready.popleft().as_broker_value() if ready else None
        for position, chunk in enumerate(ready):
            if chunk.partition not in self._paused:
                del ready[position]
                return chunk.as_broker_value()
        return None
