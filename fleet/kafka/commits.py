"""Committing offsets: asynchronous while running, synchronous where something waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from arroyo.types import Partition, Topic
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

log = structlog.get_logger(__name__)

# The partition is somebody else's by now; the new owner starts from the last commit that held.
_MOVED_ON = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._STATE,
    }
)
_SYNCHRONOUS_ATTEMPTS = 3


class Commits:
    """Offsets on their way to the broker. Not thread-safe: it lives in the run loop's thread."""

    def __init__(self, client: KafkaConsumer) -> None:
        self._client = client
        self._staged: dict[Partition, int] = {}
        self._unanswered: dict[Partition, int] = {}
        self._synchronous = False

    @contextmanager
    def synchronous(self) -> Iterator[None]:
        """Commits inside wait for the broker: the partition or the connection is about to go."""
        before, self._synchronous = self._synchronous, True
        try:
            yield
        finally:
            self._synchronous = before

    def stage(self, offsets: Mapping[Partition, int]) -> None:
        self._staged.update(offsets)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Never commit for a partition that this member no longer owns."""
        for partition in partitions:
            self._staged.pop(partition, None)
            self._unanswered.pop(partition, None)

    def commit(self) -> Mapping[Partition, int]:
        """Send what is staged. Raises nothing: a commit that fails is staged again or, where the
        partition has moved, dropped.
        """
        offsets = {**self._unanswered, **self._staged} if self._synchronous else dict(self._staged)
        if not offsets:
            return {}
        self._staged.clear()
        self._unanswered.update(offsets)
        targets = [TopicPartition(p.topic.name, p.index, offset) for p, offset in offsets.items()]
        if self._synchronous:
            self._commit_and_wait(targets)
        else:
            try:
                self._client.commit(offsets=targets, asynchronous=True)
            except KafkaException as error:
                self.answered(error.args[0], targets)
        return offsets

    def _commit_and_wait(self, targets: list[TopicPartition]) -> None:
        for _ in range(_SYNCHRONOUS_ATTEMPTS):
            try:
                # The answer also arrives through on_commit, once the client is polled again.
                answers = self._client.commit(offsets=targets, asynchronous=False) or []
            except KafkaException as error:
                failure: KafkaError = error.args[0]
                self.answered(failure, targets)
                if failure.code() in _MOVED_ON:
                    return
            else:
                self.answered(None, answers)
                return

    def answered(self, error: KafkaError | None, targets: list[TopicPartition]) -> None:
        """The broker's answer to a commit, for all partitions or one by one."""
        for target in targets:
            partition = Partition(Topic(target.topic), target.partition)
            sent = self._unanswered.get(partition)
            if sent is None or sent != target.offset:
                continue
            del self._unanswered[partition]
            failure = error or target.error
            if failure is None:
                continue
            if failure.code() in _MOVED_ON:
                log.warning("commit_refused", why=failure.str(), offset=sent, what_now="dropped")
            else:
                log.warning(
                    "commit_failed", why=failure.str(), offset=sent, what_now="trying again"
                )
                self._staged.setdefault(partition, sent)
