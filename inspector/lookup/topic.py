"""Reads a live topic for a lookup, without a group: nothing is committed or rebalanced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arroyo.types import Partition, Topic

from fleet.kafka.chunk import Record
from fleet.kafka.reader import TopicReader
from inspector.lookup.records import OpenRecords

_READ_TIMEOUT_S = 0.1


def topic_records(base_config: Mapping[str, Any], topic: str) -> OpenRecords:
    """What ``build_lookup`` takes as ``topic``. Connects anew for each search.

    It reads from the oldest message to what is the newest when it starts. Raises ConfigurationError
    and KafkaUnreachable, like ``TopicReader``.
    """

    def read() -> Iterator[tuple[Partition, Record] | None]:
        with TopicReader(base_config, topic) as reader:
            while not reader.at_end:
                messages = reader.read(timeout_s=_READ_TIMEOUT_S)
                if not messages:
                    yield None
                for message in messages:
                    partition = Partition(Topic(topic), message.partition() or 0)
                    yield partition, Record.from_kafka(message)

    return read
