"""Offsets on their way to the broker."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

import structlog
from arroyo.types import Partition, Topic
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer_fleet.kafka.open_offsets import OpenOffsets

log = structlog.get_logger(__name__)

_SYNCHRONOUS_ATTEMPTS = 3
# librdkafka gives up a commit by itself after a minute. An answer that never arrives must not stop
# all commits.
_ANSWER_TIMEOUT_S = 90.0


class Commits:
    """Commit what is settled, but for what is set aside (``open_offsets``): the commit stays at the
    oldest of it. Not thread-safe: it lives in the run loop's thread.
    """

    def __init__(
        self,
        client: KafkaConsumer,
        clock: Callable[[], float] = monotonic,
        open_offsets: OpenOffsets | None = None,
    ) -> None:
        self._client = client
        self._open = open_offsets or OpenOffsets()
        self._clock = clock
        self._sent_at = 0.0
        self._staged: dict[Partition, int] = {}
        self._unanswered: dict[Partition, int] = {}
        # What was sent for these: the offset and its metadata.
        self._sent: dict[Partition, tuple[int, str]] = {}
        self._synchronous = False
        #: Stored with each offset, "" where it is unknown.
        self.topic_id = ""
        #: By partition, the offset up to which everything was settled in the last commit that the
        #: broker has confirmed.
        self.answers: dict[Partition, int] = {}

    @contextmanager
    def synchronous(self) -> Iterator[None]:
        """Commits inside wait for the broker: the partition is about to be revoked, or the client
        closed.
        """
        before, self._synchronous = self._synchronous, True
        try:
            yield
        finally:
            self._synchronous = before

    def stage(self, offsets: Mapping[Partition, int]) -> None:
        self._staged.update(offsets)

    def begin(self, partitions: Iterable[Partition], settled: Mapping[Partition, int]) -> None:
        """Partitions are assigned: each begins where its last commit says that it is settled."""
        self.answers.update({partition: settled[partition] for partition in partitions})

    def forget(self, partitions: Collection[Partition]) -> None:
        """Never commit for a partition that this member no longer owns, whatever was set aside."""
        self._open.forget(partitions)
        for partition in partitions:
            for table in (self._staged, self._unanswered, self._sent, self.answers):
                table.pop(partition, None)

    def commit(self) -> Mapping[Partition, int]:
        """Send what is staged. Raises nothing: a commit that fails is staged again.

        So is one that is refused during a rebalance: only the rebalance's callbacks tell whether a
        partition has moved (`forget`), since a cooperative member keeps some throughout.
        """
        if not self._synchronous:
            # One at a time: librdkafka retries a refused commit after a while, and an older one
            # must not overtake a newer one, as it does when a coordinator restarts.
            waits = self._unanswered and self._clock() - self._sent_at < _ANSWER_TIMEOUT_S
            return {} if waits else self._send({**self._unanswered, **self._staged})
        sent: dict[Partition, int] = {}
        for _ in range(_SYNCHRONOUS_ATTEMPTS):
            # What failed is staged again: the next attempt sends only that.
            sent.update(self._send({**self._unanswered, **self._staged}))
        return sent

    def _send(self, offsets: dict[Partition, int]) -> dict[Partition, int]:
        if not offsets:
            return {}
        self._sent_at = self._clock()
        self._staged.clear()
        self._unanswered.update(offsets)
        targets = []
        for p, settled in offsets.items():
            self._sent[p] = sent = self._open.commit_of(p, settled, self.topic_id)
            targets.append(TopicPartition(p.topic.name, p.index, *sent))
        try:
            if self._synchronous:
                # The answer arrives through on_commit as well, at the client's next poll.
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
            settled = self._unanswered.get(partition)
            answered = (target.offset, target.metadata or "")
            if settled is None or self._sent[partition] != answered:
                continue
            del self._unanswered[partition]
            failure = error or target.error
            if failure is None:
                self.answers[partition] = settled
                continue
            log.warning("commit_failed", why=failure.str(), offset=target.offset)
            self._staged.setdefault(partition, settled)
            if failure.code() == KafkaError.OFFSET_METADATA_TOO_LARGE:
                self._open.metadata_refused()
