"""Which dead-letter topic and consumer a name stands for, and the replay position."""

from __future__ import annotations

from typing import Any

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.dlq.topic import (
    DeadLetterTopic,
    ReplayPosition,
    consumers_of,
    dead_letter_topic,
)
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.groups import Group


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
    with pytest.raises(ConfigurationError, match=r"--topic.*events,.* ingest-events,.* envelopes"):
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


@pytest.mark.parametrize(
    ("replayed", "expected"),
    [({}, "none replayed yet (3 waiting)"), ({0: 1}, "2 waiting"), ({0: 3}, "all replayed")],
)
def test_the_replay_position_is_described_in_words(replayed: dict[int, int], expected: str) -> None:
    position = ReplayPosition(Group("g", "empty", "classic"), {0: 0}, {0: 3}, replayed)
    assert str(position) == f"Group g: {expected}"
