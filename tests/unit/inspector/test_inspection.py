"""A lookup in a live topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import orjson
import pytest

from consumer_fleet.capture.envelope import Envelope, parse
from consumer_fleet.codec import RawMessage
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.inspection import topic_records
from consumer_fleet.inspector.lookup import EventLookup, build_lookup
from consumer_fleet.kafka.mock_cluster import MockCluster, MockMessage


def event_id(number: int) -> str:
    return f"{number:032x}"


def decode(message: RawMessage) -> Envelope:
    return parse(message.value or b"")


@pytest.fixture(scope="module")
def config() -> Iterator[dict[str, str]]:
    """A cluster whose topic ``events`` has events 0 to 39, ten in each partition."""
    with MockCluster() as cluster:
        cluster.create_topic("events")
        cluster.produce(
            "events",
            (
                MockMessage(orjson.dumps({"event_id": event_id(number)}), partition=number % 4)
                for number in range(40)
            ),
        )
        yield {"bootstrap.servers": cluster.bootstrap_servers}


@pytest.fixture
def lookup(config: dict[str, str]) -> Iterator[EventLookup]:
    with closing(build_lookup(topic=topic_records(config, "events"), decode=decode)) as lookup:
        yield lookup


def test_an_event_is_found_in_any_partition(lookup: EventLookup) -> None:
    found = lookup.find(event_id(38))
    assert found is not None
    assert parse(found.raw).event_id == event_id(38)
    assert found.origin is not None
    assert (found.origin.topic, found.origin.partition, found.origin.offset) == ("events", 2, 9)
    assert found.source == "topic"


def test_a_search_for_a_missing_event_ends_at_the_topics_end(
    lookup: EventLookup,
) -> None:
    assert lookup.find(event_id(40)) is None


def test_the_error_names_a_missing_topic(config: dict[str, str]) -> None:
    missing = topic_records(config, "nowhere")
    with (
        closing(build_lookup(topic=missing, decode=decode)) as lookup,
        pytest.raises(ConfigurationError, match="nowhere"),
    ):
        lookup.find(event_id(1))
