"""The messages that a replay takes of its source, and the checks before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from consumer_fleet.dead_letter_headers import Facts, with_facts
from consumer_fleet.errors import RecordingError, UndeliverableMessage
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST, OffsetSpec
from consumer_fleet.kafka.topic_writer import TopicWriter
from consumer_fleet.replay.batches import batches_of, latest_ms
from consumer_fleet.replay.source import RecordingMessages
from consumer_fleet.replay.to_topic import DeadLetterAgain, refuse_dead_letters_of, replay_to_topic
from consumer_fleet.run.progress import TransferProgress
from tests.support.recordings import Pair, write_recording


def pair(number: int, headers: tuple[tuple[str, Any], ...] = (), value: bytes = b"v") -> Pair:
    return number % 2, Record(number, 1000 + number * 10, None, value, headers)


def letter(number: int, *topics: str) -> Pair:
    """A dead letter, rejected first in the first of the topics."""
    headers: tuple[tuple[str, Any], ...] = (("own", b"1"),)
    for topic in topics:
        facts = Facts("bad", "", topic, 0, number, None, "g")
        headers = tuple(with_facts(headers, facts))
    return pair(number, headers)


def source(
    path: Path,
    pairs: list[Pair],
    start: OffsetSpec = EARLIEST,
    end: OffsetSpec = LATEST,
    cut: int = 0,
) -> RecordingMessages:
    write_recording(path, pairs, batch=10)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return RecordingMessages(path, start, end)


def batches(
    source: RecordingMessages,
    check: Callable[[Pair], None] | None = None,
    *,
    limit: int | None = None,
    speed: float | None = None,
) -> Iterator[list[Pair]] | None:
    return batches_of(source, limit=limit, speed=speed, check=check, rewrite=None)


def offsets(found: Iterator[list[Pair]] | None) -> list[int]:
    assert found is not None
    return [record.offset for batch in found for _, record in batch]


def test_what_lies_outside_of_the_range_is_not_waited_for_block_by_block(tmp_path: Path) -> None:
    made = source(tmp_path / "r", [pair(n) for n in range(3000)], end=OffsetSpec("offset", 5))
    found = list(made.batches())
    assert [record.offset for _, record in found[0]] == [0, 1, 2, 3, 4]
    # Of 299 blocks, each is read in far less than the time after which others get a turn.
    assert len(found) < 100


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (EARLIEST, LATEST, range(30)),
        (LATEST, LATEST, None),
        (EARLIEST, EARLIEST, None),
        (LATEST, EARLIEST, None),
        (OffsetSpec("offset", 30), LATEST, None),
        (OffsetSpec("offset", 25), LATEST, range(25, 30)),
        (EARLIEST, OffsetSpec("time", 1050), range(5)),
        (OffsetSpec("time", 10**13), LATEST, None),
    ],
)
def test_places_select_what_lies_between_them(
    tmp_path: Path, start: OffsetSpec, end: OffsetSpec, expected: range | None
) -> None:
    found = batches(source(tmp_path / "r", [pair(n) for n in range(30)], start, end))
    assert (None if found is None else offsets(found)) == (expected and list(expected))


def test_the_latest_time_is_that_of_what_is_replayed(tmp_path: Path) -> None:
    pairs = [pair(5), pair(3), (0, Record(9, None, None, b"", ())), pair(1)]
    whole = source(tmp_path / "r", pairs)
    assert latest_ms(whole, None) == 1050
    assert whole.given == 0
    assert latest_ms(source(tmp_path / "s", pairs, OffsetSpec("offset", 9)), None) is None
    assert latest_ms(source(tmp_path / "t", [pair(1), pair(2)]), 1) == 1010
    cut = source(tmp_path / "u", [pair(n) for n in range(30)], cut=60)
    assert latest_ms(cut, None) == 1190, "the readable part of a damaged file"


@pytest.mark.parametrize("number", [0, 11, 29])
@pytest.mark.parametrize("topics", [("t",), ("t", "u"), ("u", "t")])
def test_a_dead_letter_of_the_target_is_refused_before_anything_is_written(
    tmp_path: Path, number: int, topics: tuple[str, ...]
) -> None:
    pairs = [pair(n) for n in range(30)]
    pairs[number] = letter(number, *topics)
    with pytest.raises(DeadLetterAgain, match=r"/\d+ is a dead letter of .*dlq replay.*--yes"):
        batches(source(tmp_path / "r", pairs), refuse_dead_letters_of("t"))


def test_dead_letters_of_other_topics_and_others_headers_pass(tmp_path: Path) -> None:
    foreign = pair(2, (("dlq.topic", b"t"),))
    found = batches(
        source(tmp_path / "r", [letter(0, "u"), letter(1, "u", "w"), foreign]),
        refuse_dead_letters_of("t"),
    )
    assert offsets(found) == [0, 1, 2]


def test_one_that_lies_far_behind_ends_the_replay_before_itself(tmp_path: Path) -> None:
    large = [pair(n, value=bytes(12 << 20)) for n in range(3)]
    found = batches(
        source(tmp_path / "r", [*large, pair(3), letter(4, "t"), pair(5)]),
        refuse_dead_letters_of("t"),
    )
    assert found is not None
    seen: list[int] = []
    with pytest.raises(DeadLetterAgain):
        seen.extend(record.offset for batch in found for _, record in batch)
    assert seen == [0, 1, 2, 3]


def test_what_is_readable_of_a_damaged_file_comes_before_its_error(tmp_path: Path) -> None:
    cut = source(tmp_path / "r", [pair(n) for n in range(30)], cut=60)
    found = batches(cut, refuse_dead_letters_of("t"))
    assert found is not None
    seen: list[int] = []
    with pytest.raises(RecordingError):
        seen.extend(record.offset for batch in found for _, record in batch)
    assert seen == list(range(20))


class Writer(TopicWriter):
    """Without a broker: takes messages until the failing one."""

    def __init__(self, failing: int | None = None) -> None:
        self.written: list[Record] = []
        self._failing = failing

    def write(self, partition: int | None, record: Record) -> None:
        if len(self.written) == self._failing:
            raise UndeliverableMessage("no")
        self.written.append(record)

    def poll(self) -> None: ...

    def finish(self, timeout_s: float) -> None: ...

    @property
    def produced(self) -> int:  # type: ignore[override]  # counted from the list here
        return len(self.written)

    @property
    def acknowledged(self) -> int:
        return len(self.written)

    @property
    def acknowledged_bytes(self) -> int:
        return sum(record.size for record in self.written)


class Shown(TransferProgress):
    def __init__(self) -> None:
        super().__init__("replay", 1, Console(file=StringIO()), live=False)
        self.done: list[int] = []

    def show(self, done: int, messages: int, payload_bytes: int) -> None:
        self.done.append(done)


def test_progress_is_that_of_what_was_sent_not_of_what_was_read(tmp_path: Path) -> None:
    whole = source(tmp_path / "r", [pair(n) for n in range(30)])
    shown, writer = Shown(), Writer()
    replay_to_topic(
        batches(whole, speed=1) or iter(()),
        whole,
        writer,
        shown,
        keep_partitions=True,
        stop_requested=lambda: False,
    )
    assert 0 < shown.done[0] <= whole.total / 30
    assert shown.done == sorted(shown.done)
    assert whole.total * 0.8 < shown.done[-1] <= whole.total


def test_a_replay_is_interrupted_only_if_something_is_left(tmp_path: Path) -> None:
    whole = source(tmp_path / "r", [pair(n) for n in range(30)])
    for after, interrupted in ((20, True), (30, False)):
        writer = Writer()
        replayed = replay_to_topic(
            batches(whole) or iter(()),
            whole,
            writer,
            Shown(),
            keep_partitions=True,
            stop_requested=partial(lambda each, count: len(each.written) >= count, writer, after),
        )
        assert (replayed.acknowledged, replayed.interrupted) == (after, interrupted)


def test_bytes_and_messages_are_of_what_was_acknowledged(tmp_path: Path) -> None:
    whole = source(tmp_path / "r", [pair(n, value=bytes(n)) for n in range(30)])
    replayed = replay_to_topic(
        batches(whole) or iter(()),
        whole,
        Writer(failing=5),
        Shown(),
        keep_partitions=True,
        stop_requested=lambda: False,
    )
    assert (replayed.acknowledged, replayed.payload_bytes) == (5, 10)
    assert replayed.failure is not None
