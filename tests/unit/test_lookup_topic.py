"""A lookup in a topic that is live: by event and by place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import orjson
import pytest
from arroyo.types import Partition, Topic

from fleet.capture.envelope import Envelope, parse
from fleet.codec import RawMessage
from fleet.errors import ConfigurationError
from fleet.kafka.mock_cluster import MockCluster, MockMessage
from inspector.entry import Origin
from inspector.lookup import EventLookup, build_lookup
from inspector.lookup.topic import topic_records


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


def test_an_event_that_is_not_there_ends_the_search_at_the_topics_end(
    lookup: EventLookup,
) -> None:
    assert lookup.find(event_id(40)) is None


def test_a_place_is_found_and_one_that_does_not_exist_is_not(lookup: EventLookup) -> None:
    found = lookup.find(None, Origin("events", 3, 5))
    assert found is not None
    assert parse(found.raw).event_id == event_id(23)
    assert lookup.find(None, Origin("events", 3, 10)) is None
    assert lookup.find(None, Origin("other", 3, 5)) is None


def test_for_a_place_only_that_message_is_read(config: dict[str, str]) -> None:
    read = topic_records(config, "events")
    items = [item for item in read(Origin("events", 1, 4)) if item is not None]
    assert [(partition, record.offset) for partition, record in items] == [
        (Partition(Topic("events"), 1), 4)
    ]
    assert list(read(Origin("other", 1, 4))) == []


def test_a_partition_that_is_not_there_is_named(lookup: EventLookup) -> None:
    with pytest.raises(ConfigurationError, match="no partition 99"):
        lookup.find(None, Origin("events", 99, 5))
