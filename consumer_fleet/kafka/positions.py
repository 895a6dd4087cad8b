"""The positions of this member, what happens when one is gone, and commits of what is settled."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

import structlog
from arroyo.types import Partition, Topic
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer_fleet.kafka.chunk import Chunk, as_partition, name_of
from consumer_fleet.kafka.open_offsets import CommitMetadata, OpenOffsets
from consumer_fleet.kafka.starting_offsets import OffsetPolicy, StartingOffsets

log = structlog.get_logger(__name__)

_SYNCHRONOUS_ATTEMPTS = 3
# librdkafka gives up a commit by itself after a minute. An answer that never arrives must not stop
# all commits.
_ANSWER_TIMEOUT_S = 90.0


def as_targets(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(partition.topic.name, partition.index) for partition in partitions]


class Positions:
    """For each assigned partition: the next offset to read, and the last settled one.

    ``ends`` bounds reading (``--stop-at-end``): messages at or past a partition's end are left.
    What is set aside (``open_offsets``) counts as settled here, but not in a commit.
    """

    def __init__(
        self,
        client: KafkaConsumer,
        policy: OffsetPolicy,
        on_offsets_lost: Callable[[Partition, int], None],
        ends: Mapping[Partition, int],
        *,
        group: str,
        open_offsets: OpenOffsets | None = None,
    ) -> None:
        self._client = client
        self._open = open_offsets or OpenOffsets()
        self._open.forget_all()
        self._starting = StartingOffsets(client, policy, group)
        self._on_offsets_lost = on_offsets_lost
        self._ends = ends
        self._next: dict[Partition, int] = {}
        self._settled: dict[Partition, int] = {}
        self._eof: dict[Partition, int] = {}
        self._last_ms: dict[Partition, int] = {}
        # Chunks that were read and are not settled: their end, and their first timestamp.
        self._unsettled: dict[Partition, deque[tuple[int, int | None]]] = {}

    @property
    def policy(self) -> OffsetPolicy:
        return self._starting.policy

    def resolve(
        self, targets: list[TopicPartition], topic_id: str = ""
    ) -> tuple[dict[Partition, int], dict[Partition, int]]:
        """Starting offsets of newly assigned partitions: of all, and of those never committed.

        An offset that was committed for another topic of that name counts as none.
        Blocks on the broker. Raises KafkaUnreachable, or OffsetsOutOfRange where nothing was ever
        committed and the policy is ``error``.
        """
        start: dict[Partition, int] = {}
        fresh: dict[Partition, int] = {}
        settled: dict[Partition, int] = {}
        for target in self._starting.committed(targets) if targets else []:
            partition = as_partition(target)
            left = CommitMetadata.read(target.metadata, target.offset)
            is_old = bool(left.topic_id and topic_id) and left.topic_id != topic_id
            if target.offset >= 0 and not is_old:
                start[partition] = target.offset
                if left.open:
                    settled[partition] = self._inherit(partition, left)
                continue
            start[partition] = fresh[partition] = self._starting.by_policy(partition, None)
            if is_old:
                log.error(
                    "old_topic_offset_ignored",
                    partition=name_of(partition),
                    committed=target.offset,
                    why="the topic was deleted and created again since",
                    begins_at=start[partition],
                )
        for partition, offset in start.items():
            self._settled[partition] = settled.get(partition, offset)
            self.moved(partition, offset)
        return start, fresh

    def _inherit(self, partition: Partition, left: CommitMetadata) -> int:
        """Take over what an earlier owner has set aside; returns what is settled but for that."""
        self._open.inherit(partition, left)
        log.info(
            "held_offsets_found",
            partition=name_of(partition),
            messages=len(left.open),
            settled_below=left.high,
        )
        return left.high

    def reset(self, partition: Partition) -> int:
        """Choose a new offset for a partition whose position the broker no longer stores."""
        position = self._next.get(partition, 0)
        offset = self._starting.by_policy(partition, position)
        lost = max(0, offset - position)
        log.error(
            "offsets_out_of_range",
            partition=name_of(partition),
            position=position,
            resumed_at=offset,
            lost_messages=lost,
            lost_range=f"{position} to {offset - 1}" if lost else "none",
        )
        self._on_offsets_lost(partition, lost)
        settled = self._settled.get(partition, position)
        if offset >= position:
            # What is in flight, below the position, still counts from its own offset.
            self._settled[partition] = settled if settled < position else max(settled, offset)
            self._open.drop_inherited(partition, position, offset)
        else:
            # The log is shorter now: what follows there is new, whatever was settled of the old.
            self._settled[partition] = min(settled, offset)
            self._open.cut(partition, offset)
        self.moved(partition, offset)
        return offset

    def advance(self, chunk: Chunk) -> Chunk | None:
        """Note that a chunk was read. Records past the partition's end are cut off."""
        partition = chunk.partition
        if partition not in self._next:
            return None
        self._next[partition] = chunk.next_offset
        self._last_ms[partition] = chunk.timestamp_ms or 0
        unread = self._open.unread(chunk)
        if unread is None:
            return None
        chunk = unread
        self._unsettled.setdefault(partition, deque()).append(
            (chunk.next_offset, chunk.timestamp_ms)
        )
        end = self._ends.get(partition)
        if end is None or chunk.next_offset <= end:
            return chunk
        records = chunk.records[: bisect_left(chunk.columns.offsets, end)]
        if not records:
            return None
        return Chunk(partition, records, sum(record.size for record in records))

    def reached_end(self, partition: Partition, offset: int) -> None:
        """Kafka reported the end of the partition at ``offset``, which is past the last message
        if a transaction's control record or a compacted gap ends it.
        """
        if partition in self._next:
            self._eof[partition] = offset

    def pass_gaps(self) -> dict[Partition, int]:
        """Settle what ends a partition after its last message, once all messages are settled; its
        new offsets. A transaction's control record has an offset and is never read, so that the
        group would have a lag of 1 forever.
        """
        passed = {}
        for partition, end in self._eof.items():
            settled = self._settled[partition]
            if self._next[partition] <= settled < end:
                self._next[partition] = self._settled[partition] = passed[partition] = end
            if not self._unsettled.get(partition):
                self._open.passed(partition, self._next[partition])
        return passed

    def unread(self) -> str:
        """The next offset of each partition that is not known to be at its end, or of all, for a
        person: what has arrived since may be too large to be told of.
        """
        following = sorted(self._next.items())
        waiting = [(p, n) for p, n in following if self._eof.get(p) != n] or following
        return ", ".join(
            f"{name_of(partition)} at or after offset {offset}" for partition, offset in waiting
        )

    def moved(self, partition: Partition, offset: int) -> None:
        self._next[partition] = offset
        self._eof.pop(partition, None)
        self._open.forget_from(partition, max(offset, self._settled.get(partition, 0)))
        # What is past the offset will be read again.
        kept = (each for each in self._unsettled.pop(partition, ()) if each[0] <= offset)
        self._unsettled[partition] = deque(kept)

    def settled(self, offsets: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """Note what is settled, and return what of it may be committed: not what is past the
        position, which was read before the log became shorter.
        """
        ours = {p: offset for p, offset in offsets.items() if offset <= self._next.get(p, -1)}
        for partition, offset in ours.items():
            self._open.passed(partition, offset)
            # What an earlier process left is settled below the prefix.
            self._settled[partition] = max(offset, self._settled[partition])
            chunks = self._unsettled.get(partition)
            while chunks and chunks[0][0] <= offset:
                chunks.popleft()
        moved = (*ours, *self._open.take_changed())
        return {p: self._settled[p] for p in moved if p in self._settled}

    def oldest_unsettled_ms(self) -> dict[Partition, int]:
        """The first timestamp of the oldest chunk in flight, by partition.

        Partitions with nothing in flight are left out, however much waits on the broker.
        """
        firsts = {p: chunks[0][1] for p, chunks in self._unsettled.items() if chunks}
        return {p: timestamp_ms for p, timestamp_ms in firsts.items() if timestamp_ms is not None}

    def seen_until_ms(self, now_ms: int) -> int | None:
        """The timestamp up to which everything was read and is settled or set aside, in the
        partition that is furthest behind; None without a partition.

        Where all was read, that is now: a message that is yet to come is not older.
        """
        times = []
        for partition, following in self._next.items():
            chunks = self._unsettled.get(partition)
            if chunks:
                times.append(chunks[0][1] or 0)
            elif self._eof.get(partition) == following:
                times.append(now_ms)
            else:
                times.append(self._last_ms.get(partition, 0))
        # A producer's clock may be wrong, or count in another unit.
        return min((now_ms, *times)) if times else None

    @property
    def is_any_unsettled(self) -> bool:
        """Whether a chunk that was read is not settled yet."""
        return any(self._unsettled.values())

    def unsettled(self) -> list[tuple[Partition, int]]:
        """Partitions with chunks in flight, and the offset to read each from again."""
        found = [(p, self._open.resume(p, offset)) for p, offset in self._settled.items()]
        return [(p, offset) for p, offset in found if self._next[p] > offset]

    def forget(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            for table in (self._next, self._settled, self._eof, self._unsettled, self._last_ms):
                table.pop(partition, None)

    def tell(self) -> Mapping[Partition, int]:
        return dict(self._next)

    def settled_offsets(self) -> Mapping[Partition, int]:
        return dict(self._settled)

    def lag(self) -> dict[Partition, int]:
        """Unsettled messages per partition. Partitions that were never fetched are left out."""
        lag: dict[Partition, int] = {}
        for partition, settled in self._settled.items():
            target = TopicPartition(partition.topic.name, partition.index)
            watermarks = self._client.get_watermark_offsets(target, cached=True)
            if watermarks is None or watermarks[1] < 0:
                continue
            at_end = self._next[partition] <= settled and partition in self._eof
            lag[partition] = 0 if at_end else max(0, watermarks[1] - settled)
        return lag

    @property
    def all_at_end(self) -> bool:
        return all(
            max(position, self._eof.get(partition, 0)) >= self._ends.get(partition, 0)
            for partition, position in self._next.items()
        )


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
