"""The chunk consumer on a real broker: rebalances, pauses, commits, lost positions."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from arroyo.types import Partition, Topic
from confluent_kafka import TopicPartition

from consumer_fleet.errors import FleetError, OffsetsOutOfRange
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.clients import client_config, consumer_config
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.groups import Groups
from tests.conftest import TopicFactory
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until

# A classic member hears of a rebalance by its next heartbeat: every 3 s, unless it is told so.
QUICK = {"heartbeat.interval.ms": "200"}
PROTOCOLS: dict[str, dict[str, Any]] = {
    "eager": {"partition.assignment.strategy": "range", **QUICK},
    "cooperative": {"partition.assignment.strategy": "cooperative-sticky", **QUICK},
    "kip848": {"group.protocol": "consumer"},
}


class Member:
    """One member of a group: a chunk consumer, what it read and what it was told."""

    def __init__(
        self,
        kafka: KafkaBroker,
        group: str,
        ends: Mapping[Partition, int] | None = None,
        **kafka_config: str,
    ) -> None:
        self.read: list[tuple[int, int]] = []
        self.failures: list[FleetError] = []
        self.lost: list[tuple[int, int]] = []
        self.assigned: list[Mapping[Partition, int]] = []
        self.revoked: list[Sequence[Partition]] = []
        policy = kafka_config.pop("policy", "earliest")
        self.consumer = ChunkConsumer(
            consumer_config(client_config(kafka.bootstrap_servers, kafka_config), group),
            offset_policy=policy,  # type: ignore[arg-type]  # a literal of the caller's
            on_failure=self.failures.append,
            on_poll=lambda: None,
            on_offsets_lost=lambda partition, count: self.lost.append((partition.index, count)),
            ends=ends,
        )

    def join(self, topic: str) -> None:
        self.consumer.subscribe([Topic(topic)], self.assigned.append, self.revoked.append)

    def poll(self) -> Chunk | None:
        value = self.consumer.poll()
        if value is None:
            return None
        self.read.extend((value.partition.index, r.offset) for r in value.payload.records)
        return value.payload

    def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        self.consumer.stage_offsets({Partition(Topic(topic), p): o for p, o in offsets.items()})
        self.consumer.commit_offsets()


@contextmanager
def members(*each: Member) -> Iterator[None]:
    try:
        yield
    finally:
        for member in each:
            member.consumer.close()


def until(condition: Callable[[], bool], *polled: Member, what: str) -> None:
    def turn() -> bool:
        for member in polled:
            member.poll()
        return condition()

    wait_until(turn, timeout_s=60, what=what)


def filled(kafka: KafkaBroker, topic: str, messages: int) -> str:
    """The topic, with that many messages in each of its partitions."""
    for index in kafka.partitions(topic):
        kafka.produce(topic, [b"x"] * messages, partition=index)
    return topic


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_everything_is_read_once_in_order(
    kafka: KafkaBroker, topic: TopicFactory, group: str, protocol: str
) -> None:
    name = filled(kafka, topic(3), 700)
    member = Member(kafka, group, **PROTOCOLS[protocol])
    with members(member):
        member.join(name)
        until(lambda: len(member.read) >= 2100, member, what="all messages")
    for index in range(3):
        assert [offset for p, offset in member.read if p == index] == list(range(700))
    assert member.failures == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_retained_partition_resumes_at_its_settled_offset(
    kafka: KafkaBroker, topic: TopicFactory, group: str, protocol: str
) -> None:
    """The strategy's unfinished work of every partition is given up when one of them moves."""
    name = filled(kafka, topic(2), 100)
    first = Member(kafka, group, **PROTOCOLS[protocol])
    second = Member(kafka, group, **PROTOCOLS[protocol])
    with members(first, second):
        first.join(name)
        until(lambda: len(first.read) == 200, first, what="the first member's messages")
        first.commit(name, {0: 40, 1: 40})
        first.read.clear()
        second.join(name)
        until(
            lambda: {(0, 99), (1, 99)} <= {*first.read, *second.read},
            first,
            second,
            what="both partitions to be read to their ends again",
        )
    for read in (first.read, second.read):
        for partition in {place for place, _ in read}:
            offsets = [o for p, o in read if p == partition]
            # A cooperative group rebalances twice, so a retained partition may rewind twice.
            assert offsets == [*range(40, 100)] * (len(offsets) // 60)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_offsets_staged_while_partitions_are_revoked_are_committed_before_they_go(
    kafka: KafkaBroker, topic: TopicFactory, group: str, protocol: str
) -> None:
    name = topic(1)
    kafka.produce(name, [b"x"] * 10)
    member = Member(kafka, group, **PROTOCOLS[protocol])

    def drain(partitions: Sequence[Partition]) -> None:
        member.commit(name, {partition.index: 7 for partition in partitions})

    member.consumer.subscribe([Topic(name)], None, drain)
    until(lambda: len(member.read) == 10, member, what="the messages")
    member.consumer.close()
    assert kafka.committed(group, name) == {0: 7}


@pytest.mark.parametrize("protocol", ["cooperative", "kip848"])
def test_a_member_that_stops_with_an_assignment_unread_drains_before_it_leaves(
    kafka: KafkaBroker, topic: TopicFactory, group: str, protocol: str
) -> None:
    """librdkafka's own close would leave first, and could then wait forever."""
    name = filled(kafka, topic(2), 10)
    stopping = Member(kafka, group, **PROTOCOLS[protocol])
    leaving = Member(kafka, group, **PROTOCOLS[protocol])
    both = (stopping, leaving)

    def drain(partitions: Sequence[Partition]) -> None:
        stopping.commit(name, {partition.index: 7 for partition in partitions})

    with members(*both):
        stopping.consumer.subscribe([Topic(name)], None, drain)
        leaving.join(name)
        until(lambda: all(len(m.consumer.tell()) == 1 for m in both), *both, what="the sharing")
        (kept,) = stopping.consumer.tell()
        # Read again after the sharing, where that has come behind the first reading.
        until(lambda: stopping.consumer.tell()[kept] == 10, *both, what="the messages")
        leaving.consumer.close()
        with Groups(client_config(kafka.bootstrap_servers, {})) as groups:

            def has_all() -> bool:
                found = groups.describe([group])[group]
                return found.state == "stable" and [len(m.assigned) for m in found.members] == [2]

            wait_until(has_all, timeout_s=60, what="the assignment")
        # What the coordinator said before this answer is here, too: it is one connection.
        stopping.consumer._client.committed([TopicPartition(name, kept.index)], 60)
        stopping.consumer.close()
    assert kafka.committed(group, name)[kept.index] == 7


def test_a_paused_consumer_returns_nothing_and_loses_nothing(
    kafka: KafkaBroker, topic: TopicFactory, group: str
) -> None:
    name = filled(kafka, topic(2), 600)
    member = Member(kafka, group)
    with members(member):
        member.join(name)
        until(lambda: bool(member.read), member, what="a first chunk")
        owned = list(member.consumer.tell())
        member.consumer.pause(owned)
        seen = len(member.read)
        for _ in range(20):
            assert member.poll() is None
        assert len(member.read) == seen
        member.consumer.resume(owned)
        until(lambda: len(member.read) >= 1200, member, what="the rest")
    for index in range(2):
        assert [offset for p, offset in member.read if p == index] == list(range(600))


def test_a_rebalance_resumes_what_was_paused(
    kafka: KafkaBroker, topic: TopicFactory, group: str
) -> None:
    name = filled(kafka, topic(2), 10)
    first = Member(kafka, group, **PROTOCOLS["cooperative"])
    second = Member(kafka, group, **PROTOCOLS["cooperative"])
    with members(first, second):
        first.join(name)
        until(lambda: len(first.consumer.tell()) == 2, first, what="the assignment")
        first.consumer.pause(list(first.consumer.tell()))
        second.join(name)
        until(lambda: len(first.consumer.tell()) == 1, first, second, what="the rebalance")
        assert first.consumer.paused() == []
        until(lambda: len(first.read) >= 10, first, second, what="the retained partition")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_partition_that_left_while_it_was_paused_is_read_when_it_comes_back(
    kafka: KafkaBroker, topic: TopicFactory, group: str, protocol: str
) -> None:
    name = topic(2)
    first = Member(kafka, group, **PROTOCOLS[protocol])
    second = Member(kafka, group, **PROTOCOLS[protocol])
    with members(first):
        with members(second):
            first.join(name)
            until(lambda: len(first.consumer.tell()) == 2, first, what="the assignment")
            first.consumer.pause([Partition(Topic(name), index) for index in range(2)])
            second.join(name)
            until(lambda: len(second.consumer.tell()) == 1, first, second, what="the rebalance")
        until(lambda: len(first.consumer.tell()) == 2, first, what="the partition's return")
        for index in range(2):
            kafka.produce(name, [b"x"], partition=index)
        until(lambda: sorted(first.read) == [(0, 0), (1, 0)], first, what="the messages")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_added_partition_is_read_by_a_member_that_did_not_know_of_it(
    kafka: KafkaBroker, topic: TopicFactory, group: str, protocol: str
) -> None:
    """The group's leader has noticed; this member's metadata are still those of before."""
    name = topic(2)
    often: dict[str, Any] = {"topic.metadata.refresh.interval.ms": "500"}
    leader = Member(kafka, group, **PROTOCOLS[protocol], **often)
    other = Member(kafka, group, **PROTOCOLS[protocol])
    both = (leader, other)
    with members(*both):
        leader.join(name)
        until(lambda: len(leader.consumer.tell()) == 2, leader, what="the leader's assignment")
        other.join(name)
        until(lambda: all(len(m.consumer.tell()) == 1 for m in both), *both, what="the sharing")
        kafka.add_partitions(name, 8)
        kafka.produce(name, [b"x"], partition=7)
        for index in range(2, 7):
            kafka.produce(name, [b"x"], partition=index)
        until(
            lambda: bool(other.failures) or len({*leader.read, *other.read}) == 6,
            *both,
            what="all messages",
        )
    assert leader.failures == other.failures == []


@pytest.mark.parametrize(
    ("policy", "resumed_at", "lost"), [("earliest", 60, 50), ("latest", 100, 90)]
)
def test_a_lost_position_is_resumed_by_policy_and_the_loss_is_reported(
    kafka: KafkaBroker, topic: TopicFactory, group: str, policy: str, resumed_at: int, lost: int
) -> None:
    name = topic(1)
    kafka.produce(name, [b"x"] * 100)
    member = Member(kafka, group)
    with members(member):
        member.join(name)
        until(lambda: len(member.read) == 100, member, what="the messages")
        member.commit(name, {0: 10})
    kafka.delete_records(name, {0: 60})
    again = Member(kafka, group, policy=policy)
    with members(again):
        again.join(name)
        until(lambda: bool(again.lost), again, what="the loss")
        kafka.produce(name, [b"new"])
        until(lambda: (0, 100) in again.read, again, what="the new message")
    assert again.lost == [(0, lost)]
    assert again.read[0] == (0, resumed_at)
    assert again.failures == []


def test_a_lost_position_ends_the_run_where_the_policy_says_error(
    kafka: KafkaBroker, topic: TopicFactory, group: str
) -> None:
    name = topic(1)
    kafka.produce(name, [b"x"] * 10)
    member = Member(kafka, group)
    with members(member):
        member.join(name)
        until(lambda: len(member.read) == 10, member, what="the messages")
        member.commit(name, {0: 1})
    kafka.delete_records(name, {0: 5})
    again = Member(kafka, group, policy="error")
    with members(again):
        again.join(name)
        until(lambda: bool(again.failures), again, what="the failure")
    assert isinstance(again.failures[0], OffsetsOutOfRange)
    assert "is at offset 1, the broker stores 5 to 10" in str(again.failures[0])
    assert again.read == []


def test_a_start_at_latest_is_pinned_before_the_first_message(
    kafka: KafkaBroker, topic: TopicFactory, group: str
) -> None:
    name = topic(1)
    kafka.produce(name, [b"old"] * 5)
    member = Member(kafka, group, policy="latest")
    with members(member):
        member.join(name)
        until(lambda: bool(member.assigned), member, what="the assignment")
    assert kafka.committed(group, name) == {0: 5}


def test_a_member_whose_partition_was_taken_commits_nothing_for_it_any_more(
    kafka: KafkaBroker, topic: TopicFactory, group: str
) -> None:
    name = topic(1)
    kafka.produce(name, [b"x"] * 10)
    timeouts = {"max.poll.interval.ms": "6000", "session.timeout.ms": "6000"}
    silent = Member(kafka, group, ends={Partition(Topic(name), 0): 10}, **timeouts)
    other = Member(kafka, group)
    with members(silent, other):
        silent.join(name)
        until(lambda: silent.consumer.at_end, silent, what="the messages")
        other.join(name)
        until(lambda: len(other.read) == 10, other, what="the other member to take over")
        silent.commit(name, {0: 10})
        # The other one is not polled: it must not be asked for its partition before it commits.
        until(lambda: bool(silent.revoked), silent, what="the silent member to notice")
        assert not silent.consumer.at_end, "it has none to be at the end of"
        silent.commit(name, {0: 9})
        assert silent.failures == []
        other.commit(name, {0: 3})
    assert kafka.committed(group, name) == {0: 3}


def test_the_end_is_found_behind_a_control_record(
    kafka: KafkaBroker, topic: TopicFactory, group: str
) -> None:
    name = topic(1)
    kafka.transaction(name, 1).commit()
    member = Member(kafka, group, ends={Partition(Topic(name), 0): 2})
    with members(member):
        member.join(name)
        until(lambda: member.consumer.at_end, member, what="the end")
    assert member.read == [(0, 0)]


@pytest.mark.parametrize("outcome", ["commit", "abort"])
def test_the_lag_of_a_transactional_topic_is_0_at_its_end(
    kafka: KafkaBroker, topic: TopicFactory, group: str, outcome: str
) -> None:
    """Each transaction ends with a control record, which has an offset and is never read."""
    name = filled(kafka, topic(1), 5)
    transaction = kafka.transaction(name, 3)
    getattr(transaction, outcome)()
    readable, end = (8 if outcome == "commit" else 5), {0: 9}
    assert kafka.end_offsets(name) == end
    member = Member(kafka, group)
    with members(member):
        member.join(name)
        until(lambda: len(member.read) == readable, member, what="all messages")
        member.commit(name, {0: readable})

        def committed_all() -> bool:
            member.consumer.commit_offsets()
            return kafka.committed(group, name) == end

        until(committed_all, member, what="the end to be committed")
        assert list(member.consumer.lag().values()) == [0]
        assert len(member.read) == readable
        kafka.produce(name, [b"more"])
        until(lambda: len(member.read) == readable + 1, member, what="the next message")
        assert member.read[-1] == (0, 9)
