"""``consumer inspect``: from what is asked for to entries in the inspector's store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arroyo.types import Partition, Topic

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.api import Source
from consumer_fleet.inspector.demo import demo_feed
from consumer_fleet.inspector.feeder import Feed, dead_letter_feed, recording_feed, topic_feed
from consumer_fleet.inspector.lookup import EventLookup, OpenRecords, build_lookup
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.offset_spec import OffsetSpec, parse_offset_spec
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.targets import consumer_of_topic, named_topic

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


LATEST_MESSAGES = 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be seen: at most one of the first four. ``consumer`` names whose messages they
    are, and ``start`` where in a topic to begin, as a person writes it.
    """

    topic: str | None = None
    dead_letter_topic: str | None = None
    recording: Path | None = None
    demo: bool = False
    consumer: str | None = None
    start: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A source that is there. Without a feed, entries come from the envelope endpoint alone."""

    source: Source
    feed: Feed | None = None
    lookup: EventLookup | None = None


class Opener:
    """Opens what is wanted. What must be closed afterwards goes onto ``stack``.

    Raises the FleetError that says what is wrong with it. Blocks on the broker or the disk.
    """

    def __init__(
        self, options: Options, kafka: dict[str, Any], store: Store, stack: ExitStack
    ) -> None:
        self._options = options
        self._kafka = kafka
        self._store = store
        self._stack = stack

    def open(self, wanted: Wanted) -> Opened:
        if wanted.topic is not None:
            return self._topic(wanted.topic, wanted)
        if wanted.dead_letter_topic is not None:
            return self._dead_letters(wanted.dead_letter_topic, wanted)
        if wanted.recording is not None:
            return self._recording(wanted.recording, wanted)
        if wanted.demo:
            return Opened(Source("demo", "synthetic events"), demo_feed())
        return Opened(Source("receiver", "envelopes that are posted to it"))

    def _topic(self, name: str, wanted: Wanted) -> Opened:
        definition = self._definition(name, wanted)
        topic = named_topic(name, self._options).physical
        reader = self._reader(topic, wanted)
        decode = definition.decode
        records = topic_records(self._kafka, topic)
        lookup = build_lookup(store=self._store, topic=records, decode=decode)
        return Opened(Source("topic", topic), topic_feed(reader, decode), lookup)

    def _dead_letters(self, topic: str, wanted: Wanted) -> Opened:
        def find_decode(origin: str) -> Decode | None:
            name = origin if wanted.consumer is None else wanted.consumer
            definition = consumer_of_topic(name, self._options)
            return None if definition is None else definition.decode

        if wanted.consumer is not None:
            registry.get(wanted.consumer)  # says which there are
        reader = self._reader(topic, wanted)
        return Opened(Source("dlq", topic), dead_letter_feed(reader, find_decode))

    def _recording(self, path: Path, wanted: Wanted) -> Opened:
        recording = Recording(path)
        header = recording.header
        decode = self._definition(header.consumer or header.topic, wanted).decode

        def records() -> Iterator[tuple[Partition, Record]]:
            for index, record in recording.messages():
                yield Partition(Topic(header.topic), index), record

        lookup = build_lookup(store=self._store, recording=records, decode=decode)
        return Opened(Source("recording", path.name), recording_feed(recording, decode), lookup)

    def _reader(self, topic: str, wanted: Wanted) -> TopicReader:
        start = None
        if wanted.start is not None:
            start = parse_offset_spec(wanted.start, time.time(), relative=True)
        cluster = Cluster(self._kafka)
        cluster.check_reachable()
        if start is None:
            # Each partition's share; the division rounds it up, away from zero.
            start = OffsetSpec("relative", -LATEST_MESSAGES // cluster.partitions(topic))
        reader = TopicReader(self._kafka, topic, start=start, end=None)
        self._stack.callback(reader.close)
        return reader

    def _definition(self, name: str, wanted: Wanted) -> ConsumerDefinition:
        if wanted.consumer is not None:
            return registry.get(wanted.consumer)
        definition = consumer_of_topic(name, self._options)
        if definition is None:
            known = ", ".join(registry.names())
            raise ConfigurationError(
                f"no consumer is known to read {name!r}: say whose messages they are with "
                f"--consumer, one of {known}"
            )
        return definition
