"""Envelopes spread over messages: complete, in order, and each message leaves exactly once."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from consumer_fleet.worker.assemblies import Assemblies, ParkedMessage, Piece, Position

HOUR_MS = 3_600_000
BLOB = b"blob"


class Table:
    """A table whose messages come one after the other, on one partition."""

    def __init__(self, max_bytes: int = 10**9) -> None:
        self.assemblies = Assemblies(max_bytes, HOUR_MS)
        self.offset = 0

    def _message(self, size: int, at_ms: int) -> ParkedMessage:
        self.offset += 1
        return ParkedMessage((0, self.offset), size, at_ms)

    def chunk(self, index: int, key: bytes = BLOB, *, size: int = 10, at_ms: int = 0) -> Position:
        message = self._message(size, at_ms)
        piece = Piece(message.position, 0, size)
        self.assemblies.add_fragment(message, key, index, piece)
        return message.position

    def whole(self, *blobs: tuple[bytes, int], at_ms: int = 0) -> Position:
        message = self._message(10, at_ms)
        self.assemblies.add_whole(message, blobs or ((BLOB, 2),))
        return message.position

    def deliver(self) -> tuple[Position, dict[bytes, list[Position]], int, set[Position]]:
        """The next whole: its position, its pieces, how many blobs it lacks, what left with it."""
        ready = self.assemblies.give()
        pieces = {key: [p.position for p in each] for key, each in ready.pieces.items()}
        released = self.assemblies.done(ready.position)
        return ready.position, pieces, ready.missing, set(released)

    def skipped(self) -> dict[Position, str]:
        return dict(self.assemblies.take_skipped())


def test_a_whole_is_ready_with_its_last_chunk() -> None:
    table = Table()
    first = table.chunk(0)
    whole = table.whole()
    assert table.assemblies.peek() is None
    second = table.chunk(1)
    assert table.deliver() == (whole, {BLOB: [first, second]}, 0, {first, second})
    assert table.assemblies.is_empty
    assert table.assemblies.size == 0


def test_a_whole_is_ready_at_once_when_its_chunks_came_before_in_any_order() -> None:
    table = Table()
    second, first = table.chunk(1), table.chunk(0)
    table.whole()
    assert table.deliver()[1] == {BLOB: [first, second]}


def test_a_whole_waits_for_each_of_its_blobs() -> None:
    table = Table()
    a = table.chunk(0, b"a")
    whole = table.whole((b"a", 1), (b"b", 1))
    assert table.assemblies.peek() is None
    b = table.chunk(0, b"b")
    assert table.deliver() == (whole, {b"a": [a], b"b": [b]}, 0, {a, b})


def test_a_later_chunk_replaces_an_earlier_one_with_its_index() -> None:
    table = Table()
    earlier, later, last = table.chunk(0), table.chunk(0, size=20), table.chunk(1)
    assert table.skipped() == {earlier: "duplicate"}
    assert table.assemblies.size == 30
    table.whole()
    assert table.deliver()[1] == {BLOB: [later, last]}
    assert table.assemblies.is_empty


def test_a_message_that_comes_again_is_not_counted_twice() -> None:
    table = Table()
    message = ParkedMessage((0, 1), 10, 0)
    for _ in range(2):
        table.assemblies.add_fragment(message, BLOB, 0, Piece((0, 1), 0, 10))
        table.assemblies.add_whole(ParkedMessage((0, 2), 10, 0), [(BLOB, 2)])
    assert (table.assemblies.size, len(table.assemblies)) == (20, 2)
    assert table.assemblies.peek() is None
    assert not table.skipped()


def test_a_chunk_that_is_being_read_is_not_replaced() -> None:
    table = Table()
    first, second = table.chunk(0), table.chunk(1)
    whole = table.whole()
    table.assemblies.give()
    late = table.chunk(0)
    assert table.skipped() == {late: "duplicate"}
    assert set(table.assemblies.done(whole)) == {first, second}


def test_a_late_duplicate_waits_for_nothing() -> None:
    table = Table()
    table.chunk(0)
    table.chunk(1)
    table.whole()
    table.deliver()
    chunk, whole = table.chunk(1), table.whole()
    assert table.skipped() == {chunk: "duplicate", whole: "duplicate"}
    assert table.assemblies.is_empty


def test_chunks_past_the_count_are_left_out() -> None:
    table = Table()
    kept, past = [table.chunk(0), table.chunk(1)], table.chunk(2)
    table.whole()
    assert table.deliver()[3] == set(kept)
    assert table.skipped() == {past: "chunk_out_of_range"}


def test_two_wholes_of_one_blob_are_both_delivered() -> None:
    table = Table()
    chunks = {table.chunk(0), table.chunk(1)}
    first, second = table.whole(), table.whole()
    assert table.deliver()[:1] + table.deliver()[:1] == (first, second)
    assert table.assemblies.is_empty
    assert chunks


def test_a_count_that_changes_lets_each_whole_have_its_own() -> None:
    table = Table()
    short, long = table.whole((BLOB, 1)), table.whole((BLOB, 3))
    chunks = [table.chunk(0)]
    assert table.deliver() == (short, {BLOB: chunks}, 0, set())
    chunks += [table.chunk(1), table.chunk(2)]
    assert table.deliver() == (long, {BLOB: chunks}, 0, set(chunks))
    assert table.assemblies.is_empty


def test_a_whole_goes_without_what_is_missing_when_its_time_is_up() -> None:
    table = Table()
    table.assemblies.expire(10 * HOUR_MS)
    whole = table.whole((b"a", 1), (b"b", 2), at_ms=1000)
    a, b = table.chunk(0, b"a"), table.chunk(1, b"b")
    table.assemblies.expire(1000 + HOUR_MS - 1)
    assert table.assemblies.peek() is None
    table.assemblies.expire(1000 + HOUR_MS)
    assert table.deliver() == (whole, {b"a": [a]}, 1, {a})
    assert table.skipped() == {b: "missing_chunks"}
    assert table.assemblies.is_empty


def test_the_time_of_each_is_its_own_whatever_arrives_first() -> None:
    table = Table()
    table.whole((b"young", 1), at_ms=9 * HOUR_MS)
    old = table.whole((b"old", 1), at_ms=1000)
    table.chunk(0, b"orphan young", at_ms=9 * HOUR_MS)
    orphan = table.chunk(0, b"orphan old", at_ms=1000)
    table.assemblies.expire(2 * HOUR_MS)
    assert table.deliver() == (old, {}, 1, set())
    assert table.skipped() == {orphan: "orphan_chunk"}
    assert table.assemblies.peek() is None, "the young one has time left"


def test_orphans_are_left_out_when_their_time_is_up() -> None:
    table = Table()
    first, second = table.chunk(0), table.chunk(1, at_ms=HOUR_MS - 1)
    table.assemblies.expire(HOUR_MS - 1)
    assert not table.skipped()
    table.assemblies.expire(HOUR_MS)
    assert table.skipped() == {first: "orphan_chunk", second: "orphan_chunk"}
    late, whole = table.chunk(2), table.whole()
    assert table.skipped() == {late: "orphan_chunk"}
    # It does not wait: its chunks are known to be gone.
    assert table.deliver() == (whole, {}, 1, set())


def test_a_whole_in_delivery_does_not_expire() -> None:
    table = Table()
    chunks = {table.chunk(0), table.chunk(1)}
    whole = table.whole()
    table.assemblies.give()
    table.assemblies.expire(10 * HOUR_MS)
    assert table.assemblies.peek() is None
    assert set(table.assemblies.done(whole)) == chunks


def test_at_the_end_everything_leaves() -> None:
    table = Table()
    orphan = table.chunk(0, b"orphan")
    whole = table.whole()
    table.assemblies.finish_all()
    assert table.skipped() == {orphan: "orphan_chunk"}
    assert table.deliver() == (whole, {}, 1, set())
    assert table.assemblies.is_empty


def test_beyond_the_bound_the_oldest_goes_as_it_is() -> None:
    table = Table(max_bytes=45)
    orphan = table.chunk(0, b"orphan")
    whole = table.whole()
    part = table.chunk(0)
    table.chunk(0, b"other")
    assert not table.skipped()
    table.chunk(1, b"other")
    assert table.skipped() == {orphan: "orphan_chunk"}
    table.chunk(2, b"other")
    assert table.deliver() == (whole, {}, 1, set())
    assert table.skipped() == {part: "missing_chunks"}


def test_one_blob_larger_than_the_bound_is_left_out_and_its_event_goes_at_once() -> None:
    table = Table(max_bytes=25)
    chunks = [table.chunk(index) for index in range(5)]
    assert table.skipped() == dict.fromkeys(chunks, "orphan_chunk")
    whole = table.whole((BLOB, 5))
    assert table.deliver() == (whole, {}, 1, set())
    assert table.assemblies.size == 0


def test_complete_wholes_are_delivered_before_anything_is_left_out() -> None:
    table = Table(max_bytes=45)
    table.chunk(0)
    table.chunk(1)
    whole = table.whole()
    orphan = table.chunk(0, b"orphan")
    assert not table.assemblies.is_full
    table.chunk(1, b"orphan")
    assert table.assemblies.is_full
    assert not table.skipped()
    assert table.deliver()[0] == whole
    assert not table.assemblies.is_full
    assert not table.skipped()
    assert orphan


def test_what_was_not_settled_is_given_out_again() -> None:
    table = Table()
    chunks = {table.chunk(0), table.chunk(1)}
    whole = table.whole()
    table.assemblies.give()
    table.assemblies.take_back(whole)
    later = table.chunk(0)
    assert {position for position, _ in table.assemblies.take_skipped()} < chunks
    position, pieces, _, released = table.deliver()
    assert (position, pieces[BLOB][0]) == (whole, later)
    assert len(released) == 2
    assert table.assemblies.is_empty


def test_messages_of_a_partition_that_has_moved_are_forgotten() -> None:
    table = Table()
    kept, first, whole, orphan = table.chunk(0), table.chunk(1), table.whole(), table.chunk(0, b"x")
    assert set(table.assemblies.forget(1, 0)) == set()
    assert set(table.assemblies.forget(0, first[1])) == {first, whole, orphan}
    assert table.assemblies.peek() is None
    assert (table.assemblies.size, len(table.assemblies)) == (10, 1)
    # They are read again.
    again, whole = table.chunk(1), table.whole()
    assert table.deliver() == (whole, {BLOB: [kept, again]}, 0, {kept, again})
    assert table.assemblies.is_empty


def test_a_whole_in_delivery_outlives_the_partition_of_its_chunk() -> None:
    table = Table()
    whole, kept, gone = table.whole(), table.chunk(0), table.chunk(1)
    table.assemblies.give()
    assert table.assemblies.forget(0, gone[1]) == [gone]
    assert table.assemblies.done(whole) == [kept]
    assert table.assemblies.is_empty
    assert table.assemblies.size == 0


def test_a_whole_that_loses_a_chunk_waits_for_it_again() -> None:
    table = Table()
    whole, kept, gone = table.whole(), table.chunk(0), table.chunk(1)
    assert table.assemblies.peek() is not None
    assert table.assemblies.forget(0, gone[1]) == [gone]
    assert table.assemblies.peek() is None
    again = table.chunk(1)
    assert table.deliver()[:2] == (whole, {BLOB: [kept, again]})


def test_a_large_blob_costs_no_more_per_chunk() -> None:
    table = Table(max_bytes=10**12)
    table.whole((BLOB, 100_000))
    for index in range(100_000):
        table.chunk(index)
    assert len(table.deliver()[1][BLOB]) == 100_000


class Chance:
    """Messages of several events in random order, with faults, and a check of all that leaves."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bound = self.random.choice([200, 10**9])
        self.assemblies = Assemblies(self.bound, 1000)
        self.counts: dict[bytes, int] = {}
        self.arrived: dict[Position, tuple[str, bytes, int]] = {}
        self.left: Counter[Position] = Counter()
        self.whole_of: dict[Position, list[tuple[bytes, int]]] = {}
        self.given: list[Position] = []
        self.now_ms = 0

    def messages(self) -> list[tuple[str, bytes, int]]:
        found: list[tuple[str, bytes, int]] = []
        for number in range(self.random.randint(1, 8)):
            key = b"%d" % number
            count = self.counts[key] = self.random.randint(1, 6)
            found += [("chunk", key, index) for index in range(count)]
            found.append(("whole", key, count))
            if self.random.random() < 0.3:
                found.append(("chunk", key, self.random.randrange(count + 2)))
            if self.random.random() < 0.1:
                found.append(("whole", key, count + 1))
            if self.random.random() < 0.2:
                found.remove(("chunk", key, self.random.randrange(count)))
        self.random.shuffle(found)
        return found

    def run(self) -> None:
        offsets: dict[int, int] = defaultdict(int)
        for kind, key, number in self.messages():
            partition = self.random.randrange(4)
            offsets[partition] += 1
            position = partition, offsets[partition]
            self.arrived[position] = kind, key, number
            self.whole_of[position] = [(key, number)]
            self.arrives(position)
            self.now_ms += self.random.choice([0, 1, 1, 400])
            self.step()
            if self.random.random() < 0.1:
                self.rewind()
        self.assemblies.finish_all()
        while not self.assemblies.is_empty:
            self.step()
        assert self.assemblies.size == 0
        assert self.left == dict.fromkeys(self.arrived, 1)

    def arrives(self, position: Position) -> None:
        kind, key, number = self.arrived[position]
        message = ParkedMessage(position, self.random.randint(1, 20), self.now_ms)
        if kind == "chunk":
            self.assemblies.add_fragment(message, key, number, Piece(position, 0, 1))
        else:
            self.assemblies.add_whole(message, [(key, number)])

    def rewind(self) -> None:
        """A partition is read again from an offset on, but for what has left."""
        partition, offset = self.random.randrange(4), self.random.randrange(20)
        for position in self.given:
            self.assemblies.take_back(position)
        self.given.clear()
        gone = self.assemblies.forget(partition, offset)
        moved = [p for p in self.arrived if p[0] == partition and p[1] >= offset]
        assert sorted(gone) == sorted(p for p in moved if not self.left[p])
        for position in sorted(gone):
            self.arrives(position)

    def step(self) -> None:
        if self.random.random() < 0.2:
            self.assemblies.expire(self.now_ms)
        while self.assemblies.peek() is not None and self.random.random() < 0.7:
            ready = self.assemblies.give()
            self.given.append(ready.position)
            for key, pieces in ready.pieces.items():
                ((wanted, count),) = self.whole_of[ready.position]
                assert key == wanted
                found = [self.arrived[piece.position] for piece in pieces]
                assert found == [("chunk", key, index) for index in range(count)]
            assert ready.missing == len(self.whole_of[ready.position]) - len(ready.pieces)
        self.random.shuffle(self.given)
        while self.given and self.random.random() < 0.7:
            position = self.given.pop()
            self.left[position] += 1
            self.left.update(self.assemblies.done(position))
        self.left.update(position for position, _ in self.assemblies.take_skipped())
        assert self.assemblies.size <= self.bound or self.assemblies.is_full


@pytest.mark.parametrize("block", range(4))
def test_whatever_the_order_each_message_leaves_once_and_each_blob_is_whole(block: int) -> None:
    for seed in range(block * 500, (block + 1) * 500):
        Chance(seed).run()
