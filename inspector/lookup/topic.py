"""Reads a live topic for a lookup, without a group: nothing is committed or rebalanced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arroyo.types import Partition, Topic

from fleet.kafka.chunk import Record
from fleet.kafka.places import EARLIEST, LATEST, Place
from fleet.kafka.reader import TopicReader
from inspector.entry import Origin
from inspector.lookup.records import ReadTopic

_READ_TIMEOUT_S = 0.1


def topic_records(base_config: Mapping[str, Any], topic: str) -> ReadTopic:
    """What ``build_lookup`` takes as ``topic``. Connects anew for each search.

    Without a place it reads from the oldest message to what is the newest when it starts. Raises
    ConfigurationError and KafkaUnreachable, like ``TopicReader``.
    """

    def read(place: Origin | None) -> Iterator[tuple[Partition, Record] | None]:
        if place is not None and place.topic != topic:
            return
        with _open(base_config, topic, place) as reader:
            while not reader.at_end:
                messages = reader.read(timeout_s=_READ_TIMEOUT_S)
                if not messages:
                    yield None
                for message in messages:
                    partition = Partition(Topic(topic), message.partition() or 0)
                    yield partition, Record.from_kafka(message)

    return read


def _open(base_config: Mapping[str, Any], topic: str, place: Origin | None) -> TopicReader:
    if place is None:
        return TopicReader(base_config, topic, start=EARLIEST, end=LATEST)
    return TopicReader(
        base_config,
        topic,
        start=Place("offset", place.offset),
        end=Place("offset", place.offset + 1),
        partitions=(place.partition,),
    )
