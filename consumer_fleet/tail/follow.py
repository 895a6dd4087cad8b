"""Follow topics, their dead-letter topics and the commits of their groups, without joining any."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Final

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.kafka.offset_spec import LATEST, OffsetSpec
from consumer_fleet.kafka.reader import PartitionId, TopicReader
from consumer_fleet.tail.deliveries import Commits, Deliveries
from consumer_fleet.tail.line import TailLine, line_of

_READ_S: Final = 0.1
_BATCH: Final = 500
_COMMITS_INTERVAL_S: Final = 0.5
_LOOK_INTERVAL_S: Final = 5.0
_WAIT_S: Final = 3.0
_TURN_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Stream:
    """A topic to follow; ``dead_letter_topic`` is None if there is none."""

    topic: str
    definition: ConsumerDefinition
    group: str
    dead_letter_topic: str | None


class Follower:
    """Reads in a thread of its own, since a request to an absent broker can't be interrupted.

    Construction blocks on the broker, and raises KafkaUnreachable, or ConfigurationError for a
    topic that can't be read.
    """

    def __init__(
        self, cluster: ClusterOptions, streams: Sequence[Stream], start: OffsetSpec
    ) -> None:
        self._kafka = cluster.kafka
        self._streams = {stream.topic: stream for stream in streams}
        self._lines: queue.SimpleQueue[TailLine] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._deliveries = Deliveries(_WAIT_S)
        self._stack = ExitStack()
        self._groups = Groups(cluster.kafka)
        self._commits: dict[str, Commits] = {}
        # Where the dead-letter topics ended once these commits were known.
        self._letters_end: dict[PartitionId, int] = {}
        self._commits_due = self._look_due = 0.0
        # Dead letters first: none of a message that is read may be missed.
        self._dead_letters: dict[str, TopicReader] = {}
        try:
            self._look_for_dead_letters(start)
            self._readers = [self._open(topic, start) for topic in self._streams]
        except BaseException:
            self._stack.close()
            raise

    def lines(self) -> Iterator[TailLine]:
        """Each line when it is known, or has changed; forever. Raises what ended the reading."""
        # A daemon: the interpreter must not wait for a client that waits for a broker.
        threading.Thread(target=self._run, name="tail", daemon=True).start()
        try:
            while True:
                with suppress(queue.Empty):
                    while True:
                        yield self._lines.get(timeout=_TURN_S)
                if self._error is not None:
                    raise self._error
        finally:
            self._stopping.set()

    def _open(self, topic: str, start: OffsetSpec) -> TopicReader:
        return self._stack.enter_context(TopicReader(self._kafka, topic, start=start, end=None))

    def _run(self) -> None:
        try:
            with self._stack:
                while not self._stopping.is_set():
                    self._turn()
        except Exception as error:
            self._error = error  # raised again by the main thread

    def _turn(self) -> None:
        wait_s = _READ_S / len(self._readers)
        for reader in self._readers:
            definition = self._streams[reader.topic].definition
            for message in reader.read(_BATCH, wait_s):
                record = Record.from_kafka(message)
                line = line_of(reader.topic, message.partition() or 0, record, definition)
                self._deliveries.add(line)
        for reader in self._dead_letters.values():
            for message in reader.read(_BATCH, wait_s):
                self._note_dead_letter(Record.from_kafka(message))
        if self._has_read_letters():
            for topic, commits in self._commits.items():
                self._deliveries.committed(topic, commits)
            self._commits.clear()
        for line in self._deliveries.take():
            self._lines.put(line)
        if monotonic() >= self._commits_due:
            self._ask()
            self._commits_due = monotonic() + _COMMITS_INTERVAL_S

    def _has_read_letters(self) -> bool:
        """Whether all dead letters of what is committed are read: each was stored before."""
        return all(
            self._dead_letters[topic].positions()[index] >= end
            for (topic, index), end in self._letters_end.items()
        )

    def _note_dead_letter(self, record: Record) -> None:
        found = restore(record.headers)
        if found is not None:
            facts = found.last
            reason = ": ".join(filter(None, (facts.reason, facts.detail)))
            self._deliveries.dead_letter((facts.topic, facts.partition, facts.offset), reason)

    def _ask(self) -> None:
        """Ask for the commits of interest, and look for dead-letter topics that are new."""
        try:
            if monotonic() >= self._look_due:
                self._look_for_dead_letters(LATEST)
            topics = self._deliveries.topics()
            commits: dict[str, Commits] = {
                reader.topic: self._groups.commits(
                    self._streams[reader.topic].group, _partitions_of(reader)
                )
                for reader in self._readers
                if reader.topic in topics
            }
            if commits:
                letters = chain.from_iterable(map(_partitions_of, self._dead_letters.values()))
                self._letters_end = self._groups.ends(list(letters))
                self._commits = commits
        except KafkaUnreachable:
            # An admin client whose coordinator was away never reaches it again (librdkafka 2.16).
            self._groups.close()
            self._groups = Groups(self._kafka)

    def _look_for_dead_letters(self, start: OffsetSpec) -> None:
        self._look_due = monotonic() + _LOOK_INTERVAL_S
        present = self._groups.topics()
        for stream in self._streams.values():
            topic = stream.dead_letter_topic
            if topic is not None and topic in present and topic not in self._dead_letters:
                self._dead_letters[topic] = self._open(topic, start)


def _partitions_of(reader: TopicReader) -> list[PartitionId]:
    return [(reader.topic, index) for index in reader.ranges]
