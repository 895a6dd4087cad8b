"""A Kafka consumer behind arroyo's interface that yields chunks instead of messages.

Arroyo's own consumer takes messages one by one, which limits the parent to 58k messages per second.
This one takes all that librdkafka has in one call and returns it by partition.

Promises beyond arroyo's interface:

* ``poll`` blocks longer than ``MAX_WAIT_S`` only if no receipt or commit waits for it.
* While any partition is paused, and in a call that ran a rebalance, ``poll`` returns nothing:
  arroyo asserts the first and drops what it gets in the second.
* After a rebalance a retained partition resumes at its last settled offset: arroyo discards the
  work in flight of *every* partition when one of them moves (cooperative and KIP-848 groups).
* A failed commit is retried, never raised, until its partition is revoked: a new owner starts from
  the last successful commit.
* A position that the broker no longer stores is reset by the offset policy, and reported, once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from time import time
from typing import Any, TypeAlias

import structlog
from arroyo.backends.abstract import Consumer
from arroyo.types import BrokerValue, Partition, Topic
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from consumer_fleet.errors import FleetError
from consumer_fleet.kafka.broker_watch import BrokerWatch
from consumer_fleet.kafka.chunk import CHUNK_MESSAGES, Chunk, as_partition, split_into_chunks
from consumer_fleet.kafka.clients import OUT_OF_RANGE, failure_of, make_client
from consumer_fleet.kafka.full_partitions import FullPartitions
from consumer_fleet.kafka.open_offsets import OpenOffsets
from consumer_fleet.kafka.positions import Commits, Positions, as_targets
from consumer_fleet.kafka.receive_limit import ReceiveLimit
from consumer_fleet.kafka.starting_offsets import OffsetPolicy

log = structlog.get_logger(__name__)

MAX_WAIT_S = 0.05
IDLE_WAIT_S = 0.25

OnAssign: TypeAlias = Callable[[Mapping[Partition, int]], None]
OnRevoke: TypeAlias = Callable[[Sequence[Partition]], None]


class ChunkConsumer(Consumer[Chunk]):
    """See the module. ``on_failure`` gets an error that ends the run; it is not raised, so that the
    run loop can shut down in order. ``on_poll`` is called at each poll, assigned or not, and
    ``on_partitions_lost`` when partitions were lost without a chance to drain them.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        offset_policy: OffsetPolicy,
        on_failure: Callable[[FleetError], None],
        on_poll: Callable[[], None],
        on_offsets_lost: Callable[[Partition, int], None],
        on_partitions_lost: Callable[[], None] = lambda: None,
        ends: Mapping[Partition, int] | None = None,
    ) -> None:
        self._on_failure = on_failure
        self._on_poll = on_poll
        self._on_partitions_lost = on_partitions_lost
        # Eager groups replace the whole assignment; the other two change it partition by partition.
        strategy = str(config.get("partition.assignment.strategy", ""))
        self._incremental = config.get("group.protocol") == "consumer" or "cooperative" in strategy
        callbacks = {"error_cb": self._on_client_error, "on_commit": self._on_commit}
        self._limit = ReceiveLimit({**config, **callbacks})
        self.open_offsets = OpenOffsets()  # the workers' pool adds what is set aside
        self._make_positions = partial(
            Positions,
            policy=offset_policy,
            on_offsets_lost=on_offsets_lost,
            ends=ends or {},
            group=str(config.get("group.id", "")),
            open_offsets=self.open_offsets,
        )
        self._topic_id = ""
        self._connect()
        self._topics: Sequence[Topic] = ()
        self._on_assign: OnAssign | None = None
        self._on_revoke: OnRevoke | None = None
        self._ready: deque[Chunk] = deque()
        self._paused: set[Partition] = set()
        self._rebalanced = self._rewind = self._closing = self._closed = False
        self.max_wait_s, self.idle_wait_s = MAX_WAIT_S, IDLE_WAIT_S

    def _connect(self) -> None:
        self._joined = False
        self._brokers = BrokerWatch()
        self._client = make_client(KafkaConsumer, {**self._limit.take(), **self._brokers.settings})
        self._positions = self._make_positions(self._client)
        self._commits = Commits(self._client, open_offsets=self.open_offsets)
        self._full = FullPartitions(self._client, self.open_offsets)
        self.use_topic(self._topic_id)

    def use_topic(self, topic_id: str) -> None:
        """Store the topic's id with each commit, and ignore what was committed for another one."""
        self._topic_id = self._commits.topic_id = topic_id

    # -- subscription ---------------------------------------------------------------------------

    def subscribe(
        self,
        topics: Sequence[Topic],
        on_assign: OnAssign | None = None,
        on_revoke: OnRevoke | None = None,
    ) -> None:
        """Join the group. Callbacks run inside ``poll`` and ``close``, in the caller's thread."""
        self._topics = topics
        self._on_assign, self._on_revoke = on_assign, on_revoke
        self._join()

    def _join(self) -> None:
        self._client.subscribe(
            [topic.name for topic in self._topics],
            on_assign=self._assigned,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    def _assigned(self, _: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._rebalanced = self._joined = True
        start = self._starting_offsets(partitions)
        self._apply_assignment(start)
        # Where only others have moved, nothing is new: arroyo keeps its strategy and its pause.
        if start:
            self._expect_new_strategy()
            if self._on_assign is not None:
                self._on_assign(start)
        log.info("partitions_assigned", partitions=[f"{p.topic.name}/{p.index}" for p in start])

    def _revoked(self, _: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._rebalanced = True
        gone = [as_partition(p) for p in partitions]
        # The strategy drains and commits here, before the partitions have a new owner.
        with self._commits.synchronous():
            if self._on_revoke is not None:
                self._on_revoke(gone)
        # Before forgetting them: librdkafka keeps a partition paused that is revoked while paused,
        # even when it comes back.
        if gone:
            self._expect_new_strategy()
        self._forget(gone)
        log.info("partitions_revoked", partitions=[f"{p.topic.name}/{p.index}" for p in gone])

    def _lost(self, client: KafkaConsumer, partitions: list[TopicPartition]) -> None:
        log.warning("partitions_lost", partitions=len(partitions), why="left the group")
        # They have a new owner, or will soon: draining would send the same messages twice, and a
        # commit would be refused, or block the loop while no broker responds.
        self._joined = False
        self._on_partitions_lost()
        self._commits.forget([as_partition(p) for p in partitions])
        self._revoked(client, partitions)

    def _reconnect(self) -> None:
        """Replace the client. The old one is not closed: it has no broker to leave the group at."""
        if held := as_targets(self._positions.tell()):
            self._lost(self._client, held)
        self._connect()
        self._join()

    def start_over(self, topic_id: str) -> None:
        """Abandon what was read of a topic that is gone, and join again for the one of its name."""
        self._on_partitions_lost()
        self._commits.forget(self._positions.tell())
        self._topic_id = topic_id
        self._renew()

    def _renew(self) -> None:
        """Leave the group, and join it again with another client."""
        self._serve_rebalances()
        self._client.close()
        self._connect()
        self._join()

    def unsubscribe(self) -> None:
        self._client.unsubscribe()

    def _starting_offsets(self, targets: list[TopicPartition]) -> dict[Partition, int]:
        if self._closing:
            return {}  # a client that closes asks no broker any more
        try:
            start, fresh = self._positions.resolve(targets, self._topic_id)
        except FleetError as failure:
            self._on_failure(failure)
            return {}
        self._commits.begin(start, self._positions.settled_offsets())
        if self._positions.policy == "latest":
            # Pin the offset: what arrives from here on must survive a rebalance before any commit.
            self._commits.stage(fresh)
        return start

    def _apply_assignment(self, start: Mapping[Partition, int]) -> None:
        targets = [TopicPartition(p.topic.name, p.index, offset) for p, offset in start.items()]
        if self._incremental:
            self._client.incremental_assign(targets)
        else:
            self._client.assign(targets)

    def _forget(self, partitions: Iterable[Partition]) -> None:
        gone = set(partitions)
        self._positions.forget(gone)
        self._commits.forget(gone)
        self._full.forget(gone)
        self._paused -= gone
        self._ready = deque(chunk for chunk in self._ready if chunk.partition not in gone)

    def _expect_new_strategy(self) -> None:
        """Arroyo forgets that it had paused when it creates a new strategy; so does this."""
        if self._paused:
            self.resume(list(self._paused))
        self._rewind = self._incremental

    def _rewind_to_settled(self) -> None:
        """Read again what the old strategy discarded: its receipts will never be counted."""
        self._rewind = False
        for partition, offset in self._positions.unsettled():
            self._ready = deque(c for c in self._ready if c.partition != partition)
            self.seek({partition: offset})

    # -- reading --------------------------------------------------------------------------------

    def poll(self, timeout: float | None = None) -> BrokerValue[Chunk] | None:
        """The next chunk, or None if there is none in time. Runs rebalance callbacks."""
        self._on_poll()
        self._rebalanced = False
        held = bool(self._paused)
        if not self._full.begin_poll(self._ready, self._positions.tell, self._paused) or held:
            longest_s = self.max_wait_s if self._positions.is_any_unsettled else self.idle_wait_s
            self._read(longest_s if timeout is None else min(timeout, longest_s))
        self._commits.stage(self._positions.pass_gaps())
        if self._brokers.none_known:
            self._reconnect()
        elif self._limit.is_outgrown:
            self._renew()
        if self._rewind:
            self._rewind_to_settled()
        return None if held or self._rebalanced else self._full.take(self._ready)

    def _read(self, wait_s: float) -> None:
        """Take what librdkafka holds now; wait only if it holds nothing."""
        try:
            messages = self._client.consume(CHUNK_MESSAGES, 0)
            waits = not messages and wait_s > 0
            if waits and (first := self._client.poll(wait_s)) is not None:
                messages = [first, *self._client.consume(CHUNK_MESSAGES - 1, 0)]
        except KafkaException as error:
            self._handle_error(error.args[0], None)
            return
        fresh = [message for message in messages if message.error() is None]
        for chunk in split_into_chunks(fresh):
            if (wanted := self._positions.advance(chunk)) is not None:
                self._ready.append(wanted)
        if len(fresh) < len(messages):
            # After the messages: an event of a partition concerns the offset behind them.
            for message in messages:
                self._handle_event(message)

    def _handle_event(self, message: KafkaMessage) -> None:
        error = message.error()
        if error is None:
            return
        partition = Partition(Topic(message.topic() or ""), message.partition() or 0)
        if error.code() == KafkaError._PARTITION_EOF:
            self._positions.reached_end(partition, message.offset() or 0)
        else:
            self._handle_error(error, partition)

    def _handle_error(self, error: KafkaError, partition: Partition | None) -> None:
        code = error.code()
        if code in OUT_OF_RANGE and partition is not None:
            if partition not in self._positions.tell():
                return  # revoked within this read: its new owner resets it
            try:
                self._apply_reset(partition)
            except FleetError as refusal:
                self._on_failure(refusal)
        elif (failure := failure_of(error)) is not None:
            self._on_failure(failure)
        elif code == KafkaError._MAX_POLL_EXCEEDED:
            self._joined = False
            log.error("left_the_group", why=error.str())
        elif not self._limit.note(error, self._positions.unread()):
            log.warning("kafka_error", error=error.str())

    def _apply_reset(self, partition: Partition) -> None:
        # A partition whose fetcher has stopped on this error can't be sought, only reassigned.
        offset = self._positions.reset(partition)
        if self._positions.settled_offsets()[partition] == offset:
            # Nothing is in flight below the new offset: commit it, or a restart loses it again.
            self._commits.stage({partition: offset})
        if self._incremental:
            self._client.incremental_unassign(as_targets([partition]))
            self._apply_assignment({partition: offset})
        else:
            self._apply_assignment(dict(self._positions.tell()))

    def _on_client_error(self, error: KafkaError) -> None:
        if self._limit.note(error, self._positions.unread()) or self._brokers.note(error):
            return
        if (failure := failure_of(error)) is not None:
            self._on_failure(failure)

    # -- positions and commits ------------------------------------------------------------------

    def tell(self) -> Mapping[Partition, int]:
        """The next offset to read of each assigned partition."""
        return self._positions.tell()

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        for partition, offset in offsets.items():
            self._client.seek(TopicPartition(partition.topic.name, partition.index, offset))
            self._positions.moved(partition, offset)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Stop reading. librdkafka drops what it has prefetched and keeps the position."""
        self._client.pause(as_targets(partitions))
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self._client.resume(as_targets(self._full.readable(partitions)))
        self._paused.difference_update(partitions)

    def paused(self) -> Sequence[Partition]:
        return list(self._paused)

    def lag(self) -> dict[Partition, int]:
        """Waiting messages of each assigned partition, by the last fetch. No I/O."""
        return self._positions.lag()

    def settled(self) -> Mapping[Partition, int]:
        """The offset up to which each assigned partition is settled."""
        return self._positions.settled_offsets()

    def committed(self) -> Mapping[Partition, int]:
        """The offset up to which each assigned partition was settled at its last commit."""
        return {p: self._commits.answers.get(p, 0) for p in self._positions.settled_offsets()}

    def oldest_unsettled_ms(self) -> Mapping[Partition, int]:
        """The timestamp of the oldest message in flight, by partition. No I/O."""
        return self._positions.oldest_unsettled_ms()

    def seen_until_ms(self) -> int | None:
        return self._positions.seen_until_ms(int(time() * 1000))

    @property
    def at_end(self) -> bool:
        """True once this member has joined and read each of its partitions up to ``ends``."""
        return self._joined and not self._ready and self._positions.all_at_end

    def stage_offsets(self, offsets: Mapping[Partition, int]) -> None:
        """Called by arroyo's commit function: every lower offset of these is settled."""
        self._commits.stage(self._positions.settled(offsets))

    def commit_offsets(self) -> Mapping[Partition, int]:
        return self._commits.commit()

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._commits.answered(error, partitions)
        if error is not None and (failure := failure_of(error)) is not None:
            self._on_failure(failure)

    def close(self, timeout: float | None = None) -> None:
        """Commit what is staged and leave the group."""
        if self._closed:
            return
        with self._commits.synchronous():
            self._commits.commit()
        self._closing = True
        try:
            self._serve_rebalances()
        finally:
            self._client.close()
            self._closed = True

    def _serve_rebalances(self) -> None:
        """Run the pending rebalance callbacks. librdkafka 2.16 makes an unassignment of one that is
        pending in ``close``: the member leaves before it drains, and the callback can wait forever,
        with the interpreter's lock, as ``rd_kafka_cgrp_op_serve`` drops what comes after the end.
        """
        self._client.pause(as_targets(self._positions.tell()))
        while self._client.consume(CHUNK_MESSAGES, 0):
            pass  # messages from before the pause: not begun, so the next owner reads them

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def member_id(self) -> str:
        return "" if self._closed else str(self._client.memberid() or "")
