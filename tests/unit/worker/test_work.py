"""A chunk in flight: the prefix that may be committed, and the messages to send again."""

from __future__ import annotations

from typing import Any

import pytest

from consumer_fleet.capture.held import Held
from consumer_fleet.kafka.chunk import Chunk, KafkaRecords
from consumer_fleet.worker import work as work_module
from consumer_fleet.worker.work import Work
from tests.support.records import chunk, partition


def test_only_the_contiguous_settled_prefix_advances() -> None:
    work = Work(chunk(10, 4))
    work.settle(1)
    work.settle(2)
    assert work.advance() is None
    work.settle(0)
    advance = work.advance()
    assert advance is not None
    assert (advance.next_offset, advance.settled) == (13, 3)
    assert not work.done
    work.settle(3)
    last = work.advance()
    assert last is not None
    assert (last.next_offset, work.done) == (14, True)


def test_a_rejected_message_advances_with_its_dead_letter() -> None:
    work = Work(chunk(0, 3))
    work.settle(0)
    work.reject(1, "http_400", "no")
    advance = work.advance()
    assert advance is not None
    assert advance.next_offset == 2
    assert [(d.record.offset, d.reason, d.detail) for d in advance.dead_letters] == [
        (1, "http_400", "no")
    ]


def test_the_first_outcome_of_a_message_stands() -> None:
    work = Work(chunk(0, 1))
    assert work.settle(0)
    assert not work.reject(0, "http_400", "")
    assert not work.settle(0)
    advance = work.advance()
    assert advance is not None
    assert advance.dead_letters == []
    assert work.unsettled == 0


def test_offsets_with_gaps_commit_past_the_last_message() -> None:
    first, second = chunk(3, 1), chunk(9, 1)
    gapped = type(first)(first.partition, (*first.records, *second.records), 0)
    work = Work(gapped)
    work.settle(0)
    assert work.advance().next_offset == 4  # type: ignore[union-attr]  # it has advanced
    work.settle(1)
    assert work.advance().next_offset == 10  # type: ignore[union-attr]  # it has advanced


def test_a_message_sent_again_names_who_accepted_it_before() -> None:
    work = Work(chunk(0, 2))
    work.accepted(1, "upstream")
    assert work.task(1, 0, [0, 1], whole=False).accepted_by == {1: ["upstream"]}


def test_a_message_that_was_held_goes_to_the_destinations_that_lack_it_with_its_state() -> None:
    work = Work(chunk(0, 2))
    held = Held("limited", "saas", "HTTP 429", 0.0, done=["upstream"], left={"saas": [1]})
    work.resume(1, held)
    task = work.task(1, 0, [0, 1], whole=False)
    assert task.accepted_by == {1: ["upstream"]}
    assert Held(*task.held[1]) == held


def test_deliveries_in_shared_memory_settle_once_and_spare_other_outcomes() -> None:
    work = Work(chunk(0, 4))
    work.reject(0, "bad", "")
    assert work.settle_delivered(b"\0\1\0\1") == 2
    assert work.settle_delivered(b"\0\1\0\1") == 0
    assert work.unsettled == 1
    assert not work.is_settled(2)
    assert work.settle_delivered(b"\1\1\1\1") == 1
    advance = work.advance()
    assert advance is not None
    assert (advance.next_offset, advance.settled) == (4, 4)
    assert [letter.reason for letter in advance.dead_letters] == ["bad"]


def test_marks_of_one_destination_settle_nothing_and_go_with_the_next_task() -> None:
    work = Work(chunk(0, 4))
    marks = bytes([2, 4, 6 | 1, 0])
    assert work.settle_delivered(marks) == 1
    work.note_accepted(marks)
    work.note_accepted(marks)
    task = work.task(1, 0, [0, 1, 3], whole=False)
    assert task.accepted_by == {0: ["upstream"], 1: ["saas"]}


def test_a_task_carries_the_unsettled_messages_in_columns() -> None:
    work = Work(chunk(10, 3))
    task = work.task(7, 100, [0, 2], whole=True)
    assert (task.task_id, task.region, task.numbers) == (7, 100, [0, 2])
    assert task.offsets == [10, 12]
    assert task.values == [work.chunk.records[n].value for n in (0, 2)]
    assert len(task.keys) == len(task.headers) == 2
    assert work.task(7, 100, [0], whole=False).keys == []


class FromKafka:
    """A message as librdkafka gives it, of an offset and a timestamp."""

    def __init__(self, offset: int, timestamp: tuple[int, int]) -> None:
        self.offset = lambda: offset
        self.timestamp = lambda: timestamp
        self.value = lambda: b"x"


def test_latency_is_that_of_the_message_that_has_waited_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured: list[tuple[str, float]] = []
    monkeypatch.setattr(work_module, "distribution", lambda *given: measured.append(given))
    monkeypatch.setattr(work_module, "time", lambda: 1000.0)
    stamps = [(1, 990_000), (1, 995_000), (1, 996_000), (0, -1), (1, 2_000_000_000)]
    messages: Any = [FromKafka(offset, stamp) for offset, stamp in enumerate(stamps)]
    work = Work(Chunk(partition(), KafkaRecords(messages), 5))
    for settled in ([1], [0], [2], [3], [4]):
        for index in settled:
            work.settle(index)
        work.advance()
    # Nothing without a timestamp; a producer's clock that is ahead is no negative time.
    assert measured == [("consumer.latency_s", each) for each in (10.0, 4.0, 0.0)]
    replayed = Work(chunk(0, 1))
    replayed.settle(0)
    replayed.advance()
    assert len(measured) == 3, "a recording's timestamps say nothing"
