"""Committing offsets: asynchronous while running, synchronous where something waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

import structlog
from arroyo.types import Partition, Topic
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

log = structlog.get_logger(__name__)

_SYNCHRONOUS_ATTEMPTS = 3
# librdkafka gives a commit up by itself after a minute. An answer that never comes must not end
# all commits.
_ANSWER_TIMEOUT_S = 90.0


class Commits:
    """Offsets on their way to the broker. Not thread-safe: it lives in the run loop's thread."""

    def __init__(self, client: KafkaConsumer, clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._clock = clock
        self._sent_at = 0.0
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
        """Send what is staged. Raises nothing: a commit that fails is staged again.

        That holds for a refusal in the middle of a rebalance, too. Whether a partition has moved,
        only the rebalance's callbacks tell (`forget`): a cooperative member keeps some throughout.
        """
        if not self._synchronous:
            # One at a time: librdkafka tries a refused commit again after a while, and an older
            # one must not overtake a newer one, as it does when a coordinator restarts.
            waits = self._unanswered and self._clock() - self._sent_at < _ANSWER_TIMEOUT_S
            return {} if waits else self._send({**self._unanswered, **self._staged})
        sent: dict[Partition, int] = {}
        for _ in range(_SYNCHRONOUS_ATTEMPTS):
            # What failed is staged again: the next attempt takes that alone.
            sent.update(self._send({**self._unanswered, **self._staged}))
        return sent

    def _send(self, offsets: dict[Partition, int]) -> dict[Partition, int]:
        if not offsets:
            return {}
        self._sent_at = self._clock()
        self._staged.clear()
        self._unanswered.update(offsets)
        targets = [TopicPartition(p.topic.name, p.index, offset) for p, offset in offsets.items()]
        try:
            if self._synchronous:
                # The answer also arrives through on_commit, once the client is polled again.
                self.answered(None, self._client.commit(offsets=targets, asynchronous=False) or [])
            else:
                self._client.commit(offsets=targets, asynchronous=True)
        except KafkaException as error:
            self.answered(error.args[0], targets)
        return offsets

    def answered(self, error: KafkaError | None, targets: list[TopicPartition]) -> None:
        """The broker's answer to a commit, for all partitions or one by one."""
        for target in targets:
            partition = Partition(Topic(target.topic), target.partition)
            sent = self._unanswered.get(partition)
            if sent is None or sent != target.offset:
                continue
            del self._unanswered[partition]
            failure = error or target.error
            if failure is not None:
                log.warning("commit_failed", why=failure.str(), offset=sent)
                self._staged.setdefault(partition, sent)
