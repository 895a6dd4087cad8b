"""The judge of a row: exact sets of (topic, partition, offset, destination).

Counts could cancel a loss against a duplicate, so each message has an event ID that is made of its
position, and each receiver and the dead-letter topic are asked for exactly that ID. A thread looks
at the group's committed offsets as long as the row runs: each message below one of them must be
settled at that moment.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.kafka.open_offsets import CommitMetadata
from tests.chaos.receiver import EventId, Receiver
from tests.support.kafka_topics import KafkaTopics

_LOOK_INTERVAL_S = 0.05
_REQUEST_TIMEOUT_S = 5.0
_MOST_NAMED = 5


def event_id(tag: int, partition: int, offset: int) -> EventId:
    return b"%08x%08x%016x" % (tag, partition, offset)


class Commit(NamedTuple):
    """A committed offset, and what its metadata says of the offsets behind it."""

    offset: int
    metadata: CommitMetadata = CommitMetadata()

    def covers(self, offset: int) -> bool:
        """Whether it says that the message is settled."""
        metadata = self.metadata
        return offset < self.offset or (offset < metadata.high and offset not in metadata.open)


class Ledger:
    """What one topic holds, and what became of each of its messages."""

    def __init__(self, topic: str, required: Sequence[Receiver], *, generation: int = 0) -> None:
        self.topic = topic
        # A topic that is created again has the same offsets, and other messages.
        self.tag = zlib.crc32(f"{topic}/{generation}".encode())
        self.required = list(required)
        self.ends: Counter[int] = Counter()
        self.dead: Counter[tuple[int, int]] = Counter()
        # Messages that retention deletes before they are read: nobody can deliver them.
        self.deleted_below: dict[int, int] = {}

    @property
    def messages(self) -> int:
        return self.ends.total()

    def is_settled(self, partition: int, offset: int) -> bool:
        """Whether a commit may pass the message."""
        if (partition, offset) in self.dead:
            return True
        name = event_id(self.tag, partition, offset)
        return all(name in receiver.accepted for receiver in self.required) or (
            offset < self.deleted_below.get(partition, 0)
        )

    def unsettled(self) -> list[tuple[int, int]]:
        """Return the positions of the messages that are lost if nothing more happens."""
        return [
            (partition, offset)
            for partition, end in sorted(self.ends.items())
            for offset in range(end)
            if not self.is_settled(partition, offset)
        ]

    def exposed(self, commits: Mapping[int, Commit], partitions: Sequence[int]) -> int:
        """Count the accepted messages that the commits do not cover, for each receiver."""
        nothing = Commit(0)
        return sum(
            event_id(self.tag, partition, offset) in receiver.accepted
            for partition in partitions
            for offset in range(self.ends[partition])
            if not commits.get(partition, nothing).covers(offset)
            for receiver in self.required
        )


class Oracle:
    """Watches one group on one topic. ``problems`` is empty as long as every promise holds."""

    def __init__(self, kafka: KafkaTopics, group: str, ledger: Ledger, dead_letters: str) -> None:
        self._kafka = kafka
        self._group = group
        self.ledger = ledger
        self._dead_letters = dead_letters
        self._checked: Counter[int] = Counter()
        self._latest: dict[int, int] = {}
        self._old_topic_ids: set[str] = set()
        self.problems: list[str] = []
        self.looks = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._asker: Consumer | None = None
        self._reader: Consumer | None = None
        self._read_to: dict[int, int] = {}
        self._thread = threading.Thread(target=self._watch, name="oracle", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and stop."""
        self._stopping.set()
        self._thread.join()
        self.look()
        for client in (self._asker, self._reader):
            if client is not None:
                client.close()

    def commits(self) -> dict[int, Commit]:
        """Return the commits as of now, by partition, or raise KafkaException."""
        with self._lock:
            return self._commits()

    def look(self) -> None:
        """Check the commit-ahead invariant now. A broker that does not answer is asked later."""
        with self._lock:
            try:
                self._check(self._commits())
            except KafkaException:
                return
            self.looks += 1

    def start_again(self, ledger: Ledger) -> None:
        """Judge by another ledger from now on: the topic is created again."""
        with self._lock:
            self._old_topic_ids |= {each.metadata.topic_id for each in self._ask().values()}
            self.ledger = ledger
            self._checked.clear()
            self._latest.clear()

    def dead_letter_count(self) -> int:
        """Read the dead-letter topic to its end, and count the messages in it."""
        with self._lock:
            self._read_dead_letters()
            return len(self.ledger.dead)

    def forget_dead_letter_offsets(self) -> None:
        """Read the dead-letter topic from its start again: it was deleted."""
        with self._lock:
            self._read_to.clear()

    def lost(self) -> list[tuple[int, int]]:
        """Return the positions that are neither accepted nor dead-lettered."""
        with self._lock:
            self._read_dead_letters()
            return self.ledger.unsettled()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_INTERVAL_S):
            self.look()

    def _commits(self) -> dict[int, Commit]:
        """Return the commits of this topic, not of one that had its name before."""
        old = self._old_topic_ids
        return {i: each for i, each in self._ask().items() if each.metadata.topic_id not in old}

    def _ask(self) -> dict[int, Commit]:
        # A consumer that never joins; the admin client's request crashes while a coordinator
        # loads its groups (see KafkaTopics.committed).
        if self._asker is None:
            self._asker = Consumer(
                self._kafka.client_config(group_id=self._group, enable_auto_commit=False)
            )
        places = [TopicPartition(self.ledger.topic, index) for index in self.ledger.ends]
        found = self._asker.committed(places, timeout=_REQUEST_TIMEOUT_S)
        return {
            each.partition: Commit(each.offset, CommitMetadata.read(each.metadata, each.offset))
            for each in found
            if each.offset >= 0
        }

    def _check(self, commits: Mapping[int, Commit]) -> None:
        ahead = self._ahead(commits)
        if ahead:
            # A dead letter may be acknowledged already, and not yet read here.
            self._read_dead_letters()
            ahead = self._ahead(commits)
        for partition, offset, commit in ahead[:_MOST_NAMED]:
            self._complain(f"{partition} is committed at {commit}, ahead of {partition}@{offset}")
            self._checked[partition] = max(self._checked[partition], commit)
        for partition, found in commits.items():
            before = self._latest.get(partition, 0)
            if found.offset < before:
                self._complain(f"{partition}'s commit went back from {before} to {found.offset}")
            self._latest[partition] = found.offset

    def _ahead(self, commits: Mapping[int, Commit]) -> list[tuple[int, int, int]]:
        """Return the first unsettled message that each commit passes, by its offset or metadata."""
        found = []
        for partition, (commit, metadata) in commits.items():
            while self._checked[partition] < commit:
                if not self.ledger.is_settled(partition, self._checked[partition]):
                    found.append((partition, self._checked[partition], commit))
                    break
                self._checked[partition] += 1
            found += [
                (partition, offset, commit)
                for offset in range(commit, metadata.high)
                if offset not in metadata.open and not self.ledger.is_settled(partition, offset)
            ][:1]
        return found

    def _complain(self, text: str) -> None:
        if len(self.problems) < _MOST_NAMED:
            self.problems.append(text)

    def _read_dead_letters(self) -> None:
        """Read up to the dead-letter topic's present end."""
        if self._reader is None:
            config = self._kafka.client_config(
                group_id=f"{self._group}-oracle", enable_auto_commit=False
            )
            self._reader = Consumer(config)
        known = self._kafka.admin.list_topics(timeout=_REQUEST_TIMEOUT_S).topics
        if self._dead_letters not in known or known[self._dead_letters].error is not None:
            return
        for index in known[self._dead_letters].partitions:
            self._read_partition(self._reader, index)

    def _read_partition(self, reader: Consumer, index: int) -> None:
        place = TopicPartition(self._dead_letters, index)
        _, end = reader.get_watermark_offsets(place, timeout=_REQUEST_TIMEOUT_S)
        start = self._read_to.get(index, 0)
        if start >= end:
            return
        reader.assign([TopicPartition(self._dead_letters, index, start)])
        deadline = time.monotonic() + _REQUEST_TIMEOUT_S
        while self._read_to.get(index, 0) < end and time.monotonic() < deadline:
            for message in reader.consume(1000, timeout=0.2):
                if message.error() is not None:
                    continue
                offset = message.offset()
                assert offset is not None
                self._read_to[index] = offset + 1
                restored = restore(message.headers() or ())  # type: ignore[arg-type]  # a list; see pyproject.toml
                if restored is not None and restored.origin.topic == self.ledger.topic:
                    self.ledger.dead[restored.origin.partition, restored.origin.offset] += 1
        reader.unassign()
