"""The sources of a lookup, and the events found there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pytest
from arroyo.types import Partition, Topic
from structlog.testing import capture_logs

from consumer_fleet.capture.envelope import Envelope, parse
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.errors import KafkaUnreachable, RejectedMessage
from consumer_fleet.inspector.entry import KafkaPosition, NewEntry
from consumer_fleet.inspector.lookup import EventLookup, Found, SearchLimits, build_lookup
from consumer_fleet.inspector.services import CallTimings, InvalidBackend, ambient_request
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record

Pair = tuple[Partition, Record]


def event_id(number: int) -> str:
    return f"{number:032x}"


def envelope(number: int, note: str = "") -> bytes:
    header = orjson.dumps({"event_id": event_id(number)})
    payload = orjson.dumps({"event_id": event_id(number), "message": note})
    item = orjson.dumps({"type": "event", "length": len(payload)})
    return b"\n".join((header, item, payload, b""))


def record(offset: int, value: bytes | None, *, topic: str = "events", index: int = 0) -> Pair:
    return Partition(Topic(topic), index), Record(offset, 1000 + offset, None, value, ())


def decode(message: RawMessage) -> Envelope | Skipped:
    if message.value is None:
        return Skipped("tombstone")
    if message.value == b"bug":
        raise ZeroDivisionError
    return parse(message.value)


class Source:
    """A topic or a recording that counts how often it is opened and how far it is read."""

    def __init__(self, records: Sequence[Pair | None]) -> None:
        self._records = records
        self.opened = 0
        self.read = 0
        self.closed = 0
        self._kept: list[object] = []  # what nobody refers to would close by itself

    def __call__(self) -> Iterator[Any]:
        self.opened += 1
        self._kept.append(records := self._give())
        return records

    def _give(self) -> Iterator[Any]:
        try:
            for item in self._records:
                self.read += 1
                yield item
        finally:
            self.closed += 1


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


def keep(store: Store, number: int, note: str = "", origin: KafkaPosition | None = None) -> None:
    raw = envelope(number, note)
    store.add(NewEntry(raw, parse(raw), 1.0, origin=origin))


def names(lookup: EventLookup, event_id: str) -> list[str]:
    """The backends that a call went to."""
    timings = CallTimings()
    with ambient_request(timings):
        lookup.find(event_id)
    lookup.close()
    return sorted(timings.took_ms)


# -- the store ------------------------------------------------------------------------------------


def test_the_store_gives_the_newest_envelope_of_an_event_byte_for_byte(store: Store) -> None:
    origin = KafkaPosition("events", 1, 7, 1007)
    keep(store, 1, "old")
    keep(store, 1, "new", origin)
    keep(store, 2)
    lookup = build_lookup(store=store)
    newest = store.find(event_id(1))[-1].id
    assert lookup.find(event_id(1)) == Found(envelope(1, "new"), origin, "store", newest)
    assert lookup.find(event_id(3)) is None


@pytest.mark.parametrize("spelling", ["0" * 29 + "ABC", "00000000-0000-0000-0000-000000000abc"])
def test_an_events_id_may_be_spelled_in_any_way(store: Store, spelling: str) -> None:
    keep(store, 0xABC)
    assert build_lookup(store=store).find(spelling) is not None
    topic = Source([record(0, envelope(0xABC))])
    lookup = build_lookup(topic=topic, decode=decode)
    assert lookup.find(spelling) is not None
    lookup.close()


@pytest.mark.parametrize("wanted", ["", "x", "1", event_id(1) + "0"])
def test_an_invalid_event_id_is_not_searched(store: Store, wanted: str) -> None:
    keep(store, 1)
    topic = Source([record(0, envelope(1))])
    assert build_lookup(store=store, topic=topic, decode=decode).find(wanted) is None
    assert topic.opened == 0


# -- topics and recordings ------------------------------------------------------------------------


def test_a_topic_is_read_until_the_event_is_found_and_then_closed() -> None:
    topic = Source([None, record(3, envelope(1)), None, record(4, envelope(2)), record(5, b"")])
    lookup = build_lookup(topic=topic, decode=decode)
    found = lookup.find(event_id(2))
    assert found == Found(envelope(2), KafkaPosition("events", 0, 4, 1004), "topic")
    assert (topic.opened, topic.read, topic.closed) == (1, 4, 1)
    assert lookup.find(event_id(9)) is None
    assert topic.closed == 2
    lookup.close()


def test_an_event_id_in_the_payload_alone_is_found() -> None:
    raw = b'{}\n{"type":"event"}\n' + orjson.dumps({"event_id": event_id(1)}) + b"\n"
    lookup = build_lookup(topic=Source([record(0, raw)]), decode=decode)
    assert lookup.find(event_id(1)) is not None
    lookup.close()


def test_undecodable_messages_are_skipped() -> None:
    bad = [record(0, None), record(1, b"\xff"), record(2, b"bug"), record(3, envelope(1))]
    lookup = build_lookup(topic=Source(bad), decode=decode)
    with capture_logs():
        found = lookup.find(event_id(1))
        assert found is not None
        assert found.origin == KafkaPosition("events", 0, 3, 1003)
    lookup.close()


def test_a_search_ends_at_its_limit_of_messages() -> None:
    topic = Source([record(number, envelope(number)) for number in range(100)])
    lookup = build_lookup(topic=topic, decode=decode, limits=SearchLimits(max_messages=10))
    assert lookup.find(event_id(9)) is not None
    assert lookup.find(event_id(10)) is None
    assert topic.read == 20
    lookup.close()


def test_a_search_ends_at_its_time_limit_even_without_messages() -> None:
    topic = Source([None] * 100)
    lookup = build_lookup(topic=topic, decode=decode, limits=SearchLimits(timeout_s=0.0))
    assert lookup.find(event_id(1)) is None
    assert topic.read == 1
    lookup.close()


def test_an_unreadable_topic_is_an_error() -> None:
    def read() -> Iterator[Pair]:
        yield record(0, envelope(2))
        raise KafkaUnreachable("no broker")

    lookup = build_lookup(topic=read, decode=decode)
    with pytest.raises(KafkaUnreachable, match="no broker"):
        lookup.find(event_id(1))
    lookup.close()


def test_records_without_a_codec_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="topic needs a codec"):
        build_lookup(topic=Source([]))


def test_a_rejection_is_not_an_event() -> None:
    def reject(_message: RawMessage) -> Envelope:
        raise RejectedMessage("invalid_json")

    lookup = build_lookup(topic=Source([record(0, b"x")]), decode=reject)
    assert lookup.find(event_id(1)) is None
    lookup.close()


# -- where it is looked for -----------------------------------------------------------------------


@pytest.fixture
def everywhere(store: Store) -> EventLookup:
    """Event 1 is in the store and the topic, event 2 only in the topic."""
    keep(store, 1, origin=KafkaPosition("events", 0, 0))
    topic = Source([record(0, envelope(1)), record(1, envelope(2))])
    recording = Source([record(0, envelope(1))])
    return build_lookup(store=store, topic=topic, recording=recording, decode=decode)


def test_a_stored_event_is_not_searched_elsewhere(everywhere: EventLookup) -> None:
    assert names(everywhere, event_id(1)) == ["store"]


def test_an_event_that_is_not_stored_is_searched_in_the_topic(everywhere: EventLookup) -> None:
    found = everywhere.find(event_id(2))
    assert found is not None
    assert found.source == "topic"
    assert names(everywhere, event_id(2)) == ["topic"]


def test_without_a_topic_the_recording_is_searched(store: Store) -> None:
    keep(store, 1)
    lookup = build_lookup(store=store, recording=Source([]), decode=decode)
    assert names(lookup, event_id(2)) == ["recording"]


def test_a_lookup_without_sources_is_a_programming_error() -> None:
    with pytest.raises(InvalidBackend):
        build_lookup().find(event_id(1))
