"""Names resolve to a consumer, a group and topics."""

from __future__ import annotations

import pytest

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.consumers.registry import CONSUMERS, get
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.targets import (
    NamedTopic,
    Target,
    consumer_of_topic,
    default_dead_letter_topic,
    delivered_twice,
    group_of,
    named_topic,
    one_target,
    physical_topic,
    registry_targets,
)


def options(**given: object) -> Options:
    return Options(**given)


def test_a_consumers_topic_is_the_one_that_the_options_give_it_then_snubas_then_its_own() -> None:
    events, envelopes = get("events"), get("envelopes")
    assert physical_topic(events, options()) == "events"
    mapped = {"snuba_topic_map": {"events": "events-eu"}}
    assert physical_topic(events, options(**mapped)) == "events-eu"
    own = {"topic": "envelopes", "physical_topic": "raw", "group": "mine", **mapped}
    assert physical_topic(envelopes, options(**own)) == "raw"
    assert physical_topic(events, options(**own)) == "events-eu", "the option is for one consumer"
    assert group_of(envelopes, options(**own)) == "mine"
    assert group_of(events, options(**own)) == "consumer-fleet-events"


def test_consumers_of_both_sets_deliver_everything_twice() -> None:
    for names in ((), ("events", "transactions", "envelopes"), ("profiles", "ingest-events")):
        assert delivered_twice(names) is None
    found = delivered_twice(("ingest-events", "envelopes", "events", "profiles", "nothing"))
    assert found is not None
    assert found.startswith("events: what Sentry writes")
    assert "ingest-events, profiles. Together they deliver everything twice" in found


def test_all_consumers_are_meant_where_none_is_named() -> None:
    assert [each.consumer for each in registry_targets((), options())] == [
        each.name for each in CONSUMERS
    ]
    assert registry_targets(("events",), options()) == [
        Target("events", "consumer-fleet-events", "events")
    ]
    with pytest.raises(ConfigurationError, match="did you mean 'events'"):
        registry_targets(("event",), options())


def test_what_is_said_of_one_consumer_is_said_of_the_one_that_is_named() -> None:
    said = {"physical_topic": "raw", "group": "mine"}
    assert one_target("events", None, options(**said)) == Target("events", "mine", "raw")
    assert registry_targets(("events",), options(**said)) == [Target("events", "mine", "raw")]
    of_another = options(**said, topic="envelopes")
    assert one_target("events", None, of_another) == Target(
        "events", "consumer-fleet-events", "events"
    )
    assert "raw" not in [each.topic for each in registry_targets((), options(**said))]


@pytest.mark.parametrize(
    ("name", "physical", "consumer"),
    [
        ("events", "events-eu", "events"),
        ("events-eu", "events-eu", "events"),
        ("envelopes", "raw", "envelopes"),
        ("raw", "raw", "envelopes"),
        ("outcomes", "outcomes-eu", None),
        ("anything", "anything", None),
    ],
)
def test_a_name_is_a_consumers_a_logical_topics_or_a_topics_own(
    name: str, physical: str, consumer: str | None
) -> None:
    configured = options(
        topic="envelopes",
        physical_topic="raw",
        snuba_topic_map={"events": "events-eu", "outcomes": "outcomes-eu"},
    )
    definition = None if consumer is None else get(consumer)
    assert named_topic(name, configured) == NamedTopic(physical, definition)
    assert consumer_of_topic(name, configured) == definition
    assert named_topic(name, configured, "ingest-events") == NamedTopic(
        physical, get("ingest-events")
    )


def test_a_group_on_a_topic_is_named_by_the_consumer_or_by_both() -> None:
    mapped = options(snuba_topic_map={"events": "events-eu"})
    assert one_target("events", None, mapped) == Target(
        "events", "consumer-fleet-events", "events-eu"
    )
    assert one_target("events", "g", mapped) == Target("events", "g", "events-eu")
    assert one_target("any-topic", "g", mapped) == Target(None, "g", "any-topic")
    assert one_target("any-topic", "g", mapped).name == "g/any-topic"
    with pytest.raises(ConfigurationError, match=r"no consumer .any-topic.: .* --group"):
        one_target("any-topic", None, mapped)
    with pytest.raises(ConfigurationError, match="no consumer is named"):
        one_target(None, "g", mapped)


def test_a_topic_too_long_for_a_dead_letter_topic_of_its_own_is_an_error() -> None:
    assert default_dead_letter_topic("x" * 245) == "x" * 245 + "-dlq"
    with pytest.raises(ConfigurationError, match=r"has 249 characters.* --set dlq_topic=NAME"):
        default_dead_letter_topic("x" * 249)
