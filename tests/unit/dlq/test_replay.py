"""``dlq replay``: its chunks, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from arroyo.types import Topic

from consumer_fleet.bootstrap.options import ClusterOptions, Options
from consumer_fleet.dlq.letters import DeadLetterCounts, LetterFilter, Selection
from consumer_fleet.dlq.replay import (
    DeadLetterReplay,
    DeadLetterReplayRequest,
    ReplayPlan,
    chunks_of_letters,
)
from consumer_fleet.dlq.topic import DeadLetterTopic, ReplayPosition
from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.groups import Group
from tests.support.dead_letters import LETTERS, letter


def test_chosen_letters_become_chunks_and_the_rest_leaves_turns_for_the_run_loop() -> None:
    letters = [letter(n, "http_400" if n % 3000 == 0 else "invalid_json") for n in range(9000)]
    selection = Selection.parse(("http_400",), None)
    found = list(chunks_of_letters(iter(letters), Topic("d"), selection))
    chunks = [chunk for chunk in found if chunk is not None]
    assert [r.offset for chunk in chunks for r in chunk.records] == [0, 3000, 6000]
    assert len(found) - len(chunks) >= 6, "nothing chosen for a thousand letters is a turn"


def test_chunks_are_cut_by_count_and_keep_partitions_apart() -> None:
    letters = [letter(n, partition=n % 2) for n in range(1200)]
    chunks = [c for c in chunks_of_letters(iter(letters), Topic("d"), Selection()) if c is not None]
    assert all(len(chunk.records) <= 500 for chunk in chunks)
    for index in (0, 1):
        offsets = [r.offset for c in chunks if c.partition.index == index for r in c.records]
        assert offsets == list(range(index, 1200, 2))


def test_what_is_held_goes_out_when_nothing_arrives() -> None:
    found = list(chunks_of_letters(iter([letter(1), None, None]), Topic("d"), Selection()))
    assert [chunk and len(chunk.records) for chunk in found] == [1, None]


def test_a_replay_that_ends_well_succeeds_even_if_kafka_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ReplayPosition(Group("g", "empty", "classic"), {0: 0}, {0: 3}, {})
    asked: Iterator[ReplayPosition] = iter([before])

    def replay_position(*_: object) -> ReplayPosition:
        for answer in asked:
            return answer
        raise KafkaUnreachable("no broker")

    plan = ReplayPlan(DeadLetterCounts(LETTERS[:1]), {"events": "events"}, {0: (0, 3)})
    monkeypatch.setattr("consumer_fleet.dlq.replay.replay_position", replay_position)
    monkeypatch.setattr(DeadLetterReplay, "_plan", lambda *_: plan)
    monkeypatch.setattr(DeadLetterReplay, "_replay", lambda *_: 0)
    options = Options.model_validate(
        {"bootstrap_servers": ["k:9092"], "upstream_dsn": "http://k@localhost/1"}
    )
    topic = DeadLetterTopic("events-dlq", "events")
    request = DeadLetterReplayRequest(LetterFilter())
    assert DeadLetterReplay(request, topic, ClusterOptions(options, {})).run() == 0
    output = capsys.readouterr()
    assert "Group g: none replayed yet (3 waiting)" in output.err
    assert "are unknown: no broker" in output.out
