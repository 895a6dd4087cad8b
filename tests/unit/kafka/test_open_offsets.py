"""What was set aside: what a commit says of it, and what a successor reads of that."""

from __future__ import annotations

import random

import pytest

from consumer_fleet.kafka.open_offsets import CommitMetadata, OpenOffsets
from tests.support.records import chunk, partition

HERE = partition()
NOW = 1000.0


def opened(*offsets: int) -> OpenOffsets:
    found = OpenOffsets(lambda: NOW)
    for offset in offsets:
        found.add(HERE, offset)
    return found


def inherited(committed: int, text: str) -> OpenOffsets:
    found = OpenOffsets(lambda: NOW)
    found.inherit(HERE, CommitMetadata.read(text, committed))
    return found


def test_without_anything_set_aside_the_prefix_is_committed_with_the_topics_id_only() -> None:
    assert opened().commit_of(HERE, 20, "abc") == (20, "topic-id=abc")
    assert opened().commit_of(HERE, 20, "") == (20, "")


def test_the_commit_stays_at_the_oldest_that_is_set_aside_and_names_the_others() -> None:
    assert opened(15, 10, 11).commit_of(HERE, 20, "abc") == (
        10,
        "held=20:2,3,1 since=1000:3 topic-id=abc",
    )


def test_what_is_set_aside_past_the_prefix_does_not_count() -> None:
    assert opened(20, 25).commit_of(HERE, 20, "") == (20, "")


def test_a_settled_one_moves_the_commit() -> None:
    found = opened(10, 15)
    found.settle(HERE, 10)
    assert found.commit_of(HERE, 20, "") == (15, "held=20:1 since=1000:1")
    assert list(found.take_changed()) == [HERE]
    found.settle(HERE, 15)
    assert found.commit_of(HERE, 20, "") == (20, "")


@pytest.mark.parametrize("seed", range(100))
def test_a_successor_takes_nothing_for_settled_that_is_not(seed: int) -> None:
    source = random.Random(seed)
    offsets = set(source.sample(range(300), source.randint(0, 200)))
    settled, room = source.randint(1, 400), source.choice([0, 5, 40, 3400])
    found = opened(*offsets)
    found._metadata_bytes = room
    committed, text = found.commit_of(HERE, settled, "id")
    read = CommitMetadata.read(text, committed)
    open_ones = {each for each in offsets if each < settled}
    assert read.topic_id == "id"
    assert committed == min(open_ones, default=settled)
    # From the commit up to this offset, the successor skips all but the named ones.
    high = read.high or committed
    assert committed <= high <= settled
    assert read.open == {each for each in open_ones if each < high}
    if room == 3400:
        assert high == settled


def test_metadata_is_small_enough_for_a_broker_and_says_less_where_it_must() -> None:
    found = opened(*range(0, 20_000, 2))
    committed, text = found.commit_of(HERE, 20_000, "x" * 22)
    assert committed == 0
    assert 3000 < len(text) < 4096
    assert len(CommitMetadata.read(text, 0).open) > 800
    found.metadata_refused()
    assert len(found.commit_of(HERE, 20_000, "")[1]) < 1800


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "somebody else's",
        "held=",
        "held=5:9",
        "held=20:0,3",
        "held=20:1,,1",
        "held=9999999999999999999:9999999999999999",
        "xheld=20:1",
    ],
)
def test_metadata_that_is_not_ours_or_damaged_skips_nothing(text: str | None) -> None:
    assert CommitMetadata.read(text, 10) == CommitMetadata()


def test_a_successor_reads_only_what_was_set_aside_and_what_is_new() -> None:
    found = inherited(10, "held=20:2,3,1")
    first = found.unread(chunk(10, 4))
    assert first is not None
    assert [record.offset for record in first.records] == [10, 11]
    assert found.unread(chunk(12, 3)) is None
    last = found.unread(chunk(14, 8))
    assert last is not None
    assert [record.offset for record in last.records] == [15, 20, 21]
    assert last.size == 3 * chunk(0, 1).size


def test_what_a_successor_has_settled_moves_its_commit() -> None:
    found = inherited(10, "held=20:2,3,1")
    assert found.commit_of(HERE, 20, "") == (10, "held=20:2,3,1 since=1000:3")
    found.passed(HERE, 11)
    assert found.commit_of(HERE, 20, "") == (11, "held=20:1,3,1 since=1000:2")
    # Set aside again: the prefix passes it, and it stays open.
    found.add(HERE, 11)
    found.passed(HERE, 30)
    assert found.commit_of(HERE, 30, "") == (11, "held=30:1 since=1000:1")


def test_after_a_rebalance_it_is_read_from_the_oldest_inherited_one() -> None:
    found = inherited(10, "held=20:2,3,1")
    assert found.resume(HERE, 20) == 10
    found.passed(HERE, 12)
    assert found.resume(HERE, 20) == 15
    found.passed(HERE, 20)
    assert found.resume(HERE, 20) == 20


def test_what_is_read_again_is_forgotten_and_its_owner_told() -> None:
    found = opened(10, 15)
    told: list[int] = []
    found.on_forget.append(lambda _, offset: told.append(offset))
    found.forget_from(HERE, 12)
    assert told == [12]
    assert found.commit_of(HERE, 20, "") == (10, "held=20:1 since=1000:1")
    found.forget([HERE])
    assert told == [12, 0]
    assert found.commit_of(HERE, 20, "") == (20, "")


def test_what_is_given_up_is_named_until_it_is_read_again() -> None:
    found = opened(12)
    found.leave(HERE, [10, 15])
    found.passed(HERE, 20)
    assert found.commit_of(HERE, 20, "") == (10, "held=20:1,1,1,2,1 since=1000:3")
    # The partition stays: only these are read again, and the one that is set aside is not.
    assert found.resume(HERE, 20) == 10
    again = found.unread(chunk(10, 12))
    assert again is not None
    assert [record.offset for record in again.records] == [10, 15, 20, 21]
    found.passed(HERE, 11)
    assert found.commit_of(HERE, 20, "") == (12, "held=20:1,2,1 since=1000:2")
    found.passed(HERE, 22)
    assert found.commit_of(HERE, 22, "") == (12, "held=22:1 since=1000:1")


def test_what_is_given_up_twice_stays_open() -> None:
    found = inherited(10, "held=20:2,3,1")
    # The next drain comes when 10 is settled, 11 is not, and 15 was not read yet.
    found.leave(HERE, [11])
    found.passed(HERE, 12)
    assert found.commit_of(HERE, 20, "") == (11, "held=20:1,3,1 since=1000:2")
    assert found.resume(HERE, 20) == 11
    assert found.unread(chunk(12, 3)) is None


def test_what_is_given_up_is_forgotten_with_its_partition_and_where_it_is_read_again_anyway() -> (
    None
):
    found = opened()
    found.leave(HERE, [10, 15])
    found.forget_from(HERE, 12)
    assert found.commit_of(HERE, 20, "") == (10, "held=20:1 since=1000:1")
    found.forget_all()
    assert found.commit_of(HERE, 20, "") == (20, "")
    assert found.resume(HERE, 20) == 20


def committed_at(now: float, offsets: OpenOffsets, settled: int = 400) -> str:
    offsets._wall_clock = lambda: now
    return offsets.commit_of(HERE, settled, "")[1]


def test_a_successor_knows_since_when_each_message_is_held() -> None:
    found = opened()
    for found._wall_clock, offset in (
        (lambda: 100.0, 10),
        (lambda: 100.0, 11),
        (lambda: 160.0, 20),
    ):
        assert found.hold(HERE, offset) == 0.0
    text = committed_at(500.0, found)
    assert text == "held=400:2,8,1 since=100:2,60:1"
    next_one = inherited(10, text)
    # Also before it has read them.
    assert committed_at(600.0, next_one) == text
    assert [next_one.hold(HERE, each) for each in (10, 11, 20)] == [500.0, 500.0, 440.0]
    assert committed_at(600.0, inherited(10, committed_at(600.0, next_one))) == text


def test_what_is_given_up_again_and_again_keeps_its_time() -> None:
    found = opened()
    found._wall_clock = lambda: 100.0
    found.leave(HERE, [10])
    for now in (200.0, 300.0):
        found = inherited(10, committed_at(now, found))
        found.leave(HERE, [10])
        found.passed(HERE, 400)
        assert committed_at(now, found) == "held=400:1 since=100:1"


def test_the_time_in_which_it_is_only_parked_does_not_count() -> None:
    found = opened()
    found._wall_clock = lambda: 100.0
    found.hold(HERE, 10)
    found.add(HERE, 10)
    found._wall_clock = lambda: 200.0
    assert found.hold(HERE, 10) == 0.0


def test_an_offset_that_is_used_again_does_not_have_the_time_of_its_old_message() -> None:
    found = inherited(10, "held=20:1 since=100:1")
    found.cut(HERE, 5)
    found.forget_from(HERE, 5)
    assert found.hold(HERE, 10) == 0.0


def test_a_clock_that_is_behind_the_one_of_the_commit_makes_nothing_older() -> None:
    found = inherited(10, "held=20:1 since=5000:1")
    assert found.hold(HERE, 10) == 0.0


@pytest.mark.parametrize("seed", range(50))
def test_no_message_is_taken_for_older_than_it_is(seed: int) -> None:
    source = random.Random(seed)
    offsets = sorted(source.sample(range(5000), source.choice([1, 30, 900])))
    begin, spread = 1.79e9, source.choice([0, 5, 600, 86_400])
    times = {each: begin + source.uniform(0, spread) for each in offsets}
    if source.random() < 0.7:  # nearly always in the order of the offsets
        times = dict(zip(offsets, sorted(times.values()), strict=True))
    found = opened()
    for each in offsets:
        found._wall_clock = lambda each=each: times[each]  # type: ignore[misc]
        found.hold(HERE, each)
    text = committed_at(begin + spread, found, 5000)
    assert len(text) < 4096 - 300
    read = CommitMetadata.read(text, offsets[0])
    assert read.since.keys() == read.open
    late = [read.since[each] - times[each] for each in read.open]
    assert min(late) >= 0
    if list(times.values()) == sorted(times.values()):
        assert max(late) <= 1 + max(10, spread / 10)


@pytest.mark.parametrize("since", ["", "x", "5", "5:", ":1", "5:1,", "-:1", "99999999999999:1"])
def test_times_that_are_damaged_are_unknown_and_the_rest_holds(since: str) -> None:
    read = CommitMetadata.read(f"held=20:2,3,1 since={since} why=x", 10)
    assert (set(read.open), read.why, dict(read.since)) == ({10, 11, 15}, "x", {})


def test_times_of_only_some_are_read_for_those() -> None:
    assert CommitMetadata.read("held=20:2,3,1 since=7:2", 10).since == {10: 7, 11: 7}
    assert CommitMetadata.read("held=20:1 since=7:9999999", 10).since == {10: 7}


def test_a_commit_counts_what_was_skipped_by_reason_until_the_partition_moves() -> None:
    found = opened(10)
    found.skipped(HERE, "circle", 15)
    found.skipped(HERE, "too old, by: us", 2)
    found.skipped(HERE, "circle", 5)
    committed, text = found.commit_of(HERE, 20, "abc")
    read = CommitMetadata.read(text, committed)
    assert read.skipped == {"circle": 20, "too old, by: us": 2}
    assert (read.topic_id, sorted(read.open), read.high) == ("abc", [10], 20)
    found.forget([HERE])
    assert found.commit_of(HERE, 20, "abc") == (20, "topic-id=abc")


def test_skipped_messages_of_many_reasons_leave_room_for_the_rest_of_the_metadata() -> None:
    found = opened(*range(0, 4000, 2))
    found.describe = lambda _partition, _offset: "é" * 300
    for number in range(100):
        found.skipped(HERE, f"reason-{number}", number + 1)
    committed, text = found.commit_of(HERE, 5000, "AAAAAAAAAAAAAAAAAAAAAA")
    read = CommitMetadata.read(text, committed)
    assert len(text) <= 4096
    assert read.skipped["reason-99"] == 100
    assert "reason-0" not in read.skipped


@pytest.mark.parametrize("word", ["circle", "a:", ":1", "a,b:1", "a:1,", f"a:1{'0' * 19}"])
def test_a_damaged_count_of_skipped_messages_is_ignored(word: str) -> None:
    read = CommitMetadata.read(f"held=20:2 skipped={word} topic-id=x", 10)
    assert (read.topic_id, sorted(read.open), dict(read.skipped)) == ("x", [10, 11], {})


def test_parts_are_settled_by_no_commit_before_one_that_settles_their_whole() -> None:
    other = partition(index=1)
    found = opened(10, 11)
    found.add(other, 5)
    found.settle(other, 5)
    found.passed(other, 5)
    found.settle_behind(other, 5, [(HERE, 10)])
    assert found.commit_of(HERE, 20, "")[0] == 10, "a message before the whole is in flight"
    found.passed(other, 6)
    assert found.commit_of(HERE, 20, "")[0] == 11
    assert set(found.take_changed()) == {other, HERE}
    found.settle_behind(other, 4, [(HERE, 11)])
    assert found.commit_of(HERE, 20, "")[0] == 20, "the commit has passed the whole before"


def test_parts_that_are_read_again_are_not_settled_by_their_former_whole() -> None:
    other = partition(index=1)
    found = opened(10, 11)
    found.settle_behind(other, 5, [(HERE, 10), (HERE, 11)])
    found.forget_from(HERE, 11)
    found.add(HERE, 11)
    found.passed(other, 6)
    assert found.commit_of(HERE, 20, "")[0] == 11


def test_parts_move_on_where_their_wholes_partition_is_lost() -> None:
    other = partition(index=1)
    found = opened(10)
    found.settle_behind(other, 5, [(HERE, 10)])
    found.forget([other])
    assert found.commit_of(HERE, 20, "")[0] == 20
