"""The positions of a member: starting offsets, lost offsets, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from arroyo.types import Partition
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from consumer_fleet.errors import KafkaUnreachable, OffsetsOutOfRange
from consumer_fleet.kafka.positions import Positions
from consumer_fleet.kafka.starting_offsets import OffsetPolicy
from tests.support.records import TOPIC, chunk, partition


class HandClient:
    """A broker's answers: committed offsets by partition, and one range for all partitions."""

    def __init__(self) -> None:
        self.committed_offsets: dict[int, int] = {}
        self.low, self.high = 10, 50
        self.cached: tuple[int, int] | None = (10, 50)
        self.failures = 0
        self.refused = 0
        self.metadata = ""

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT))

    def committed(self, targets: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        self._fail()
        if self.refused:
            self.refused -= 1
            refusal = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
            return [SimpleNamespace(offset=OFFSET_INVALID, error=refusal) for _ in targets]  # type: ignore[misc]  # an error can't be set
        return [
            TopicPartition(
                each.topic,
                each.partition,
                self.committed_offsets.get(each.partition, OFFSET_INVALID),
                self.metadata,
            )
            for each in targets
        ]

    def get_watermark_offsets(
        self, target: TopicPartition, timeout: float = 0, cached: bool = False
    ) -> tuple[int, int] | None:
        if cached:
            return self.cached
        self._fail()
        return self.low, self.high


class Assigned:
    """One member's positions, by a policy, and the losses that it was told of."""

    def __init__(
        self, client: HandClient, policy: OffsetPolicy, ends: Mapping[Partition, int] | None = None
    ) -> None:
        self.lost: list[tuple[int, int]] = []
        self.positions = Positions(
            client,  # type: ignore[arg-type]  # a hand-driven client
            policy,
            lambda where, count: self.lost.append((where.index, count)),
            ends or {},
            group="fleet",
        )

    def start(self, *indexes: int) -> tuple[dict[Partition, int], dict[Partition, int]]:
        return self.positions.resolve([TopicPartition(TOPIC.name, index) for index in indexes])


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> HandClient:
    monkeypatch.setattr("consumer_fleet.kafka.starting_offsets._PAUSE_S", 0.0)
    return HandClient()


@pytest.mark.parametrize("policy", ["earliest", "latest", "error"])
def test_a_committed_offset_is_where_it_starts_by_any_policy(
    client: HandClient, policy: OffsetPolicy
) -> None:
    client.committed_offsets = {0: 0, 1: 33}
    assert Assigned(client, policy).start(0, 1) == ({partition(0): 0, partition(1): 33}, {})


@pytest.mark.parametrize(("policy", "offset"), [("earliest", 10), ("latest", 50)])
def test_a_partition_without_a_commit_starts_by_the_policy_and_is_named_as_fresh(
    client: HandClient, policy: OffsetPolicy, offset: int
) -> None:
    client.committed_offsets = {1: 33}
    start, fresh = Assigned(client, policy).start(0, 1)
    assert start == {partition(0): offset, partition(1): 33}
    assert fresh == {partition(0): offset}


def test_a_partition_without_a_commit_is_an_error_where_the_policy_says_so(
    client: HandClient,
) -> None:
    with pytest.raises(OffsetsOutOfRange, match=r"events/0 has no committed offset.* 10 to 50"):
        Assigned(client, "error").start(0)


def test_a_broker_that_answers_late_is_asked_again(client: HandClient) -> None:
    client.failures = 4
    client.committed_offsets = {0: 33}
    assert Assigned(client, "earliest").start(0) == ({partition(0): 33}, {})


def test_a_broker_that_never_answers_ends_the_run(client: HandClient) -> None:
    client.failures = 100
    with pytest.raises(KafkaUnreachable, match="committed offsets"):
        Assigned(client, "earliest").start(0)
    client.failures, client.committed_offsets = 0, {0: 5}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    client.failures = 100
    with pytest.raises(KafkaUnreachable, match="events/0"):
        assigned.positions.reset(partition(0))


def test_a_partition_that_is_refused_alone_has_not_committed_nothing(client: HandClient) -> None:
    client.refused = 1
    client.committed_offsets = {0: 33, 1: 5}
    assert Assigned(client, "latest").start(0, 1)[0] == {partition(0): 33, partition(1): 5}


def test_no_partitions_ask_nothing_of_the_broker(client: HandClient) -> None:
    client.failures = 100
    assert Assigned(client, "earliest").start() == ({}, {})


@pytest.mark.parametrize(("policy", "offset", "lost"), [("earliest", 10, 7), ("latest", 50, 47)])
def test_a_reset_counts_what_is_skipped(
    client: HandClient, policy: OffsetPolicy, offset: int, lost: int
) -> None:
    client.committed_offsets = {0: 3}
    assigned = Assigned(client, policy)
    assigned.start(0)
    assert assigned.positions.reset(partition(0)) == offset
    assert assigned.lost == [(0, lost)]
    assert assigned.positions.tell() == {partition(0): offset}


def test_a_log_that_has_become_shorter_loses_nothing_and_is_read_again(client: HandClient) -> None:
    """A topic was recreated, or an unclean election: the group's offset is past the end."""
    client.committed_offsets = {0: 1000}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assert assigned.positions.reset(partition(0)) == 10
    assert assigned.lost == [(0, 0)]
    assigned.positions.advance(chunk(10, 5))
    assert assigned.positions.unsettled() == [(partition(0), 10)], (
        "it must be read again if given up"
    )


def test_receipts_from_before_a_shorter_log_settle_nothing_of_it(client: HandClient) -> None:
    client.committed_offsets = {0: 1000}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assigned.positions.advance(chunk(1000, 5))
    assigned.positions.reset(partition(0))
    assigned.positions.advance(chunk(10, 5))
    assert assigned.positions.settled({partition(0): 1005}) == {}
    assert assigned.positions.unsettled() == [(partition(0), 10)]
    assert assigned.positions.settled({partition(0): 12}) == {partition(0): 12}
    assert assigned.positions.settled_offsets() == {partition(0): 12}


def test_a_reset_with_nothing_in_flight_is_not_lost_twice(client: HandClient) -> None:
    client.committed_offsets = {0: 3}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assigned.positions.reset(partition(0))
    assigned.positions.advance(chunk(10, 5))
    assert assigned.positions.unsettled() == [(partition(0), 10)]


def test_a_reset_passes_nothing_that_is_in_flight(client: HandClient) -> None:
    client.committed_offsets = {0: 3}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assigned.positions.advance(chunk(3, 5))
    assert assigned.positions.reset(partition(0)) == 10
    assert assigned.positions.settled_offsets() == {partition(0): 3}
    assert assigned.positions.settled({partition(0): 8}) == {partition(0): 8}


def test_a_reset_is_an_error_where_the_policy_says_so(client: HandClient) -> None:
    client.committed_offsets = {0: 3}
    assigned = Assigned(client, "error")
    assigned.start(0)
    with pytest.raises(OffsetsOutOfRange, match="events/0 is at offset 3"):
        assigned.positions.reset(partition(0))
    assert assigned.lost == []


def test_reading_moves_on_and_stops_at_the_end(client: HandClient) -> None:
    client.committed_offsets = {0: 10}
    assigned = Assigned(client, "earliest", {partition(0): 15})
    assigned.start(0)
    first, second = (
        assigned.positions.advance(chunk(10, 3)),
        assigned.positions.advance(chunk(13, 5)),
    )
    assert first == chunk(10, 3)
    assert second == chunk(13, 2), "the records and the size of what lies before the end"
    assert assigned.positions.advance(chunk(18, 2)) is None
    assert assigned.positions.all_at_end


def test_without_ends_everything_passes(client: HandClient) -> None:
    client.committed_offsets = {0: 10}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assert assigned.positions.advance(chunk(10, 3)) == chunk(10, 3)
    assert assigned.positions.tell() == {partition(0): 13}


def test_messages_of_a_partition_that_is_gone_are_dropped(client: HandClient) -> None:
    client.committed_offsets = {0: 10, 1: 10}
    assigned = Assigned(client, "earliest")
    assigned.start(0, 1)
    assigned.positions.forget([partition(0)])
    assert assigned.positions.advance(chunk(10, 3, index=0)) is None
    assigned.positions.settled({partition(0): 13})
    assigned.positions.reached_end(partition(0), 50)
    assert assigned.positions.tell() == {partition(1): 10}
    assert assigned.positions.settled_offsets() == {partition(1): 10}


def test_what_may_be_unread_is_named_also_where_all_ends_were_reached(client: HandClient) -> None:
    """A message that came since may be one that librdkafka refuses to take."""
    client.committed_offsets = {0: 10, 1: 20}
    assigned = Assigned(client, "earliest")
    assigned.start(0, 1)
    assigned.positions.reached_end(partition(0), 10)
    assert assigned.positions.unread() == "events/1 at or after offset 20"
    assigned.positions.reached_end(partition(1), 20)
    both = "events/0 at or after offset 10, events/1 at or after offset 20"
    assert assigned.positions.unread() == both


def test_the_end_is_reached_where_kafka_says_that_no_message_is_left(client: HandClient) -> None:
    client.committed_offsets = {0: 10}
    assigned = Assigned(client, "earliest", {partition(0): 15})
    assigned.start(0)
    assigned.positions.advance(chunk(10, 3))
    assert not assigned.positions.all_at_end
    assigned.positions.reached_end(partition(0), 15)
    assert assigned.positions.all_at_end
    assigned.positions.moved(partition(0), 10)
    assert not assigned.positions.all_at_end, "what is read again is not at the end yet"


def test_the_end_is_reached_only_when_each_partition_has(client: HandClient) -> None:
    client.committed_offsets = {0: 15, 1: 10}
    assigned = Assigned(client, "earliest", {partition(0): 15, partition(1): 11})
    assigned.start(0, 1)
    assert not assigned.positions.all_at_end
    assigned.positions.advance(chunk(10, 1, index=1))
    assert assigned.positions.all_at_end


def test_unsettled_is_what_was_read_further_than_settled(client: HandClient) -> None:
    client.committed_offsets = {0: 10, 1: 10}
    assigned = Assigned(client, "earliest")
    assigned.start(0, 1)
    assert assigned.positions.unsettled() == []
    assigned.positions.advance(chunk(10, 5, index=0))
    assigned.positions.advance(chunk(10, 5, index=1))
    assigned.positions.settled({partition(0): 15, partition(1): 12})
    assert assigned.positions.unsettled() == [(partition(1), 12)]


def test_lag_is_what_is_not_settled_yet(client: HandClient) -> None:
    client.committed_offsets = {0: 20}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assert assigned.positions.lag() == {partition(0): 30}
    assigned.positions.advance(chunk(20, 10))
    assert assigned.positions.lag() == {partition(0): 30}
    assigned.positions.settled({partition(0): 30})
    assert assigned.positions.lag() == {partition(0): 20}


def test_a_partition_that_was_never_fetched_has_no_known_lag(client: HandClient) -> None:
    client.committed_offsets = {0: 20}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    client.cached = None
    assert assigned.positions.lag() == {}
    client.cached = (0, -1001)
    assert assigned.positions.lag() == {}


def test_a_control_record_at_the_end_is_not_lag(client: HandClient) -> None:
    client.committed_offsets = {0: 48}
    assigned = Assigned(client, "earliest")
    assigned.start(0)
    assigned.positions.advance(chunk(48, 1))
    assigned.positions.reached_end(partition(0), 50)
    assert assigned.positions.lag() == {partition(0): 2}, "its message is not settled yet"
    assigned.positions.settled({partition(0): 49})
    assert assigned.positions.lag() == {partition(0): 0}


def test_what_ends_a_partition_after_its_last_message_is_settled_with_it(
    client: HandClient,
) -> None:
    client.committed_offsets = {0: 10}
    positions = Assigned(client, "earliest").positions
    positions.resolve([TopicPartition(TOPIC.name, 0)])
    positions.advance(chunk(10, 2))
    positions.reached_end(partition(0), 14)
    assert positions.pass_gaps() == {}, "a message is in flight"
    positions.settled({partition(0): 11})
    assert positions.pass_gaps() == {}, "a message is in flight"
    positions.settled({partition(0): 12})
    assert positions.pass_gaps() == {partition(0): 14}
    assert positions.pass_gaps() == {}
    assert positions.tell() == positions.settled_offsets() == {partition(0): 14}
    positions.moved(partition(0), 12)
    assert positions.pass_gaps() == {}, "the end was seen from another position"


def test_a_commit_that_names_held_messages_is_where_it_reads_and_the_rest_is_settled(
    client: HandClient,
) -> None:
    client.committed_offsets, client.metadata = {0: 10}, "held=20:1,4,1"
    member = Assigned(client, "earliest")
    assert member.start(0) == ({partition(0): 10}, {})
    assert member.positions.settled_offsets() == {partition(0): 20}
    read = member.positions.advance(chunk(10, 12))
    assert read is not None
    assert [record.offset for record in read.records] == [10, 15, 20, 21]
    # Read and not settled: a rebalance begins again at the oldest of them.
    assert member.positions.unsettled() == [(partition(0), 10)]
    assert member.positions.settled({partition(0): 11}) == {partition(0): 20}
    assert member.positions.unsettled() == [(partition(0), 15)]
    assert member.positions.settled({partition(0): 22}) == {partition(0): 22}
    assert not member.positions.is_any_unsettled


def test_held_messages_of_a_topic_that_was_created_again_are_not_the_new_ones(
    client: HandClient,
) -> None:
    client.committed_offsets, client.metadata = {0: 12}, "held=20:1,4,1 topic-id=old"
    member = Assigned(client, "earliest")
    target = TopicPartition(TOPIC.name, 0)
    assert member.positions.resolve([target], "new") == ({partition(0): 10}, {partition(0): 10})
    assert member.positions.settled_offsets() == {partition(0): 10}


def test_held_messages_that_exist_no_more_do_not_keep_the_commit(client: HandClient) -> None:
    client.committed_offsets, client.metadata = {0: 10}, "held=20:1"
    member = Assigned(client, "earliest")
    member.start(0)
    # Compaction has deleted it; the log goes on at 20.
    assert member.positions.advance(chunk(12, 8)) is None
    member.positions.reached_end(partition(0), 20)
    member.positions.pass_gaps()
    assert member.positions.settled({}) == {partition(0): 20}
    assert member.positions.unsettled() == []


def test_a_reset_passes_no_inherited_message_that_is_in_flight(client: HandClient) -> None:
    client.committed_offsets, client.metadata = {0: 10}, "held=40:1,9,1,9,1"
    member = Assigned(client, "earliest")
    member.start(0)
    read = member.positions.advance(chunk(10, 5))
    assert read is not None
    assert [record.offset for record in read.records] == [10]
    client.low = 25  # and 20 is deleted before it was read
    assert member.positions.reset(partition(0)) == 25
    assert member.positions.unsettled() == [(partition(0), 10)]
    assert member.positions.settled({partition(0): 15}) == {partition(0): 40}
    member.positions.advance(chunk(25, 15))
    assert member.positions.unsettled() == [(partition(0), 30)]


def test_a_log_that_became_shorter_has_new_messages_where_old_ones_were_settled(
    client: HandClient,
) -> None:
    client.committed_offsets, client.metadata = {0: 30}, "held=40:1,4,1"
    client.low, client.high = 0, 32
    member = Assigned(client, "latest")
    member.start(0)
    member.positions.advance(chunk(30, 10))
    assert member.positions.reset(partition(0)) == 32
    read = member.positions.advance(chunk(32, 4))
    assert read is not None
    assert [record.offset for record in read.records] == [32, 33, 34, 35]
    # The one below the cut is in flight, and keeps its offset.
    assert member.positions.unsettled() == [(partition(0), 30)]


def test_time_is_that_of_the_partition_that_is_furthest_behind(client: HandClient) -> None:
    client.committed_offsets = {0: 10, 1: 10}
    assigned = Assigned(client, "earliest")
    positions = assigned.positions
    now_ms = 1_800_000_000_000
    assert positions.seen_until_ms(now_ms) is None
    assigned.start(0, 1)
    assert positions.seen_until_ms(now_ms) == 0, "nothing is read yet"
    positions.reached_end(partition(1), 10)
    positions.advance(chunk(10, 5))
    assert positions.seen_until_ms(now_ms) == 1_700_000_000_010, "it is in flight"
    positions.advance(chunk(15, 5))
    positions.settled({partition(0): 15})
    assert positions.seen_until_ms(now_ms) == 1_700_000_000_015
    positions.settled({partition(0): 20})
    assert positions.seen_until_ms(now_ms) == 1_700_000_000_015, "more may wait on the broker"
    positions.reached_end(partition(0), 20)
    assert positions.seen_until_ms(now_ms) == now_ms
    positions.advance(chunk(10, 1, index=1))
    assert positions.seen_until_ms(now_ms) == 1_700_000_000_010
    assert positions.seen_until_ms(1) == 1, "a producer's clock is ahead"
