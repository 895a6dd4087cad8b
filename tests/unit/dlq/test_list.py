"""Dead letters chosen, counted, cut into chunks; and which topic and consumer are meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from arroyo.types import Topic

from consumer_fleet.bootstrap.options import ClusterOptions, Options
from consumer_fleet.dead_letter_headers import Facts, restore, with_facts
from consumer_fleet.dlq import list as listing
from consumer_fleet.dlq.letters import DeadLetterCounts, Letter, LetterFilter, Selection
from consumer_fleet.dlq.replay import (
    DeadLetterReplay,
    DeadLetterReplayRequest,
    ReplayPlan,
    chunks_of,
)
from consumer_fleet.dlq.topic import (
    DeadLetterTopic,
    ReplayPosition,
    consumers_of,
    dead_letter_topic,
)
from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.groups import Group


def letter(
    offset: int, reason: str | None = "invalid_json", topic: str = "events", *, partition: int = 0
) -> Letter:
    facts = Facts(reason or "", "what\nis wrong" * 20, topic, partition, 10 * offset, None, "g")
    headers = () if reason is None else tuple(with_facts((), facts))
    record = Record(offset, 1_700_000_000_000 + 1000 * offset, None, b"value", headers)
    return Letter(partition, record, restore(headers))


LETTERS = [
    letter(1),
    letter(2, "http_400", "events", partition=1),
    letter(3, "http_400", "ingest-events", partition=1),
    letter(4, None),
]


@pytest.mark.parametrize(
    ("reasons", "origin", "offsets"),
    [
        ((), None, [1, 2, 3, 4]),
        (("http_400",), None, [2, 3]),
        (("http_400", "invalid_json"), "events", [1, 2]),
        ((), "events", [1, 2]),
        ((), "events/1", [2]),
        (("(not a dead letter)",), None, [4]),
        (("missing",), None, []),
    ],
)
def test_a_selection_takes_the_named_reasons_and_origins(
    reasons: tuple[str, ...], origin: str | None, offsets: list[int]
) -> None:
    selection = Selection.parse(reasons, origin)
    assert [each.record.offset for each in LETTERS if selection.takes(each)] == offsets
    assert selection.is_everything == (not reasons and origin is None)


@pytest.mark.parametrize(
    "origin", ["/1", "events/", "events/x", "events/-1", "events/" + "1" * 5000, ""]
)
def test_an_invalid_origin_is_refused(origin: str) -> None:
    with pytest.raises(ConfigurationError, match=r"expected TOPIC or TOPIC/PARTITION"):
        Selection.parse((), origin)


def test_the_table_counts_by_reason_most_first_and_fits_80_columns() -> None:
    counts = DeadLetterCounts(
        [*LETTERS, letter(9, "an_extraordinarily_long_reason_of_somebody" * 3)]
    )
    lines = list(listing.table(counts, 80))
    assert next(line.split()[0] for line in lines[1:] if not line.startswith(" ")) == "http_400"
    assert "  from events/1 (1), ingest-events/1 (1)" in lines
    assert all(len(line) <= 80 and line.isprintable() for line in lines)
    assert str(DeadLetterCounts(LETTERS)) == "http_400 2, (not a dead letter) 1, invalid_json 1"


def test_a_line_for_each_fits_80_columns_on_a_terminal_and_is_whole_in_a_pipe() -> None:
    far = letter(123_456, "worker_killed", "a-topic-with-a-rather-long-name", partition=31)
    for each in (*LETTERS, far):
        assert len(listing.line(each, 80)) <= 80
        assert listing.line(each, 80).isprintable()
    assert len(listing.head()) <= 80
    assert listing.line(far, 10_000).count("is wrong") == 20
    assert "-name/31@1234560" in listing.line(far, 80)


def test_messages_without_dead_letter_headers_are_counted_apart() -> None:
    assert DeadLetterCounts(LETTERS[:3]).described == "3 dead letters"
    assert DeadLetterCounts(LETTERS).described == "3 dead letters and 1 other message"
    assert DeadLetterCounts([letter(1, None), letter(2, None)]).described == (
        "2 messages without dead-letter headers"
    )
    assert DeadLetterCounts(LETTERS).as_document() == {
        "http_400": 2,
        "(not a dead letter)": 1,
        "invalid_json": 1,
    }


def test_times_are_those_of_the_oldest_and_the_newest() -> None:
    (entry,) = listing.as_document(DeadLetterCounts([letter(5), letter(2), letter(9)]))
    assert (entry["oldest_ms"], entry["newest_ms"]) == (1_700_000_002_000, 1_700_000_009_000)
    assert (entry["count"], entry["bytes"]) == (3, 15)
    # A producer's own timestamp may be 0.
    epoch = letter(0)._replace(record=letter(0).record._replace(timestamp_ms=0))
    (entry,) = listing.as_document(DeadLetterCounts([epoch, letter(5)]))
    assert (entry["oldest_ms"], entry["newest_ms"]) == (0, 1_700_000_005_000)


# -- chunks


def test_chosen_letters_become_chunks_and_the_rest_leaves_turns_for_the_run_loop() -> None:
    letters = [letter(n, "http_400" if n % 3000 == 0 else "invalid_json") for n in range(9000)]
    selection = Selection.parse(("http_400",), None)
    found = list(chunks_of(iter(letters), Topic("d"), selection))
    chunks = [chunk for chunk in found if chunk is not None]
    assert [r.offset for chunk in chunks for r in chunk.records] == [0, 3000, 6000]
    assert len(found) - len(chunks) >= 6, "nothing chosen for a thousand letters is a turn"


def test_chunks_are_cut_by_count_and_keep_partitions_apart() -> None:
    letters = [letter(n, partition=n % 2) for n in range(1200)]
    chunks = [c for c in chunks_of(iter(letters), Topic("d"), Selection()) if c is not None]
    assert all(len(chunk.records) <= 500 for chunk in chunks)
    for index in (0, 1):
        offsets = [r.offset for c in chunks if c.partition.index == index for r in c.records]
        assert offsets == list(range(index, 1200, 2))


def test_what_is_held_goes_out_when_nothing_arrives() -> None:
    found = list(chunks_of(iter([letter(1), None, None]), Topic("d"), Selection()))
    assert [chunk and len(chunk.records) for chunk in found] == [1, None]


# -- which topic, which consumer


@pytest.mark.parametrize(
    ("topic", "named", "options", "expected"),
    [
        ("ingest-events", None, {}, ("ingest-events-dlq", "ingest-events")),
        ("physical-1", None, {}, ("physical-1-dlq", None)),
        (None, "any-name", {}, ("any-name", None)),
        ("events", "any-name", {}, ("any-name", "events")),
        (None, None, {"topic": "events"}, ("events-dlq", "events")),
        (None, None, {"topic": "events", "physical_topic": "ev-1"}, ("ev-1-dlq", "events")),
        ("events", None, {"topic": "events", "dlq_topic": "dead"}, ("dead", "events")),
        # What is configured for one consumer does not apply to another.
        (
            "envelopes",
            None,
            {"topic": "events", "dlq_topic": "dead"},
            ("envelopes-dlq", "envelopes"),
        ),
        (
            "events",
            None,
            {"snuba_topic_map": {"events": "events-eu"}},
            ("events-eu-dlq", "events"),
        ),
        (
            "envelopes",
            None,
            {"topic": "events", "physical_topic": "e"},
            ("envelopes-dlq", "envelopes"),
        ),
    ],
)
def test_the_topic_is_found_by_the_rule_of_run(
    topic: str | None, named: str | None, options: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    place = dead_letter_topic(topic, named, Options(**options))
    assert place == DeadLetterTopic(*expected)
    assert place.group == f"consumer-fleet-dlq-{expected[0]}"


def test_without_any_name_the_consumers_are_listed() -> None:
    with pytest.raises(ConfigurationError, match=r"--topic.*events, ingest-events, envelopes"):
        dead_letter_topic(None, None, Options())


def test_each_topic_of_origin_has_its_own_consumer_and_others_the_one_that_is_named() -> None:
    found = consumers_of(["events", "ingest-events", "physical-1"], "envelopes", Options())
    assert found == {
        "events": "events",
        "ingest-events": "ingest-events",
        "physical-1": "envelopes",
    }
    with pytest.raises(ConfigurationError, match=r"'physical-1'.*--through"):
        consumers_of(["physical-1"], None, Options())
    with pytest.raises(ConfigurationError, match=r"do not say where they came from.*--through"):
        consumers_of([None], "events", Options())


# -- how a replay ends


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


@pytest.mark.parametrize(
    ("replayed", "expected"),
    [({}, "none replayed yet (3 waiting)"), ({0: 1}, "2 waiting"), ({0: 3}, "all replayed")],
)
def test_the_replay_position_is_described_in_words(replayed: dict[int, int], expected: str) -> None:
    position = ReplayPosition(Group("g", "empty", "classic"), {0: 0}, {0: 3}, replayed)
    assert str(position) == f"Group g: {expected}"
