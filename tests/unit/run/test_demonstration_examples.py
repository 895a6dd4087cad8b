"""The demonstration's messages: real ones, made fresh, that their consumers can read."""

from __future__ import annotations

import json
import time
from itertools import islice

import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.events import StoredEvents
from consumer_fleet.consumers.registry import CONSUMERS, ConsumerDefinition
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.run.demonstration import example_messages


def decoded(definition: ConsumerDefinition, count: int) -> list[Envelope | Skipped]:
    messages = islice(example_messages(definition.name), count)
    return [
        definition.decode(RawMessage(definition.logical_topic, 0, offset, None, value))
        for offset, value in enumerate(messages)
    ]


@pytest.mark.parametrize("definition", CONSUMERS, ids=lambda definition: definition.name)
def test_each_consumer_reads_its_examples_as_events_of_their_own_and_of_now(
    definition: ConsumerDefinition,
) -> None:
    results = decoded(definition, 100)

    envelopes = [result for result in results if isinstance(result, Envelope)]
    assert len(envelopes) >= 90
    assert len({envelope.event_id for envelope in envelopes}) == len(envelopes)
    for envelope in envelopes:
        (item,) = envelope.items
        event = json.loads(item.payload)
        assert item.type == "event"
        assert event["event_id"] == envelope.event_id
        assert abs(event["timestamp"] - time.time()) < 60


def test_the_event_stream_has_large_events_and_other_operations_now_and_then() -> None:
    messages = [json.loads(value) for value in islice(example_messages("events"), 1000)]
    operations = {message[1] for message in messages}
    assert {"insert", "end_merge", "tombstone_events"} <= operations
    assert max(len(json.dumps(message)) for message in messages) > 30_000


def test_an_example_envelope_is_as_an_sdk_sends_it() -> None:
    (raw,) = islice(example_messages("envelopes"), 1)
    header, item_header, payload, rest = raw.split(b"\n")
    assert {"event_id", "sent_at", "dsn"} <= set(json.loads(header))
    assert json.loads(item_header)["length"] == len(payload)
    assert not {"project", "key_id", "received"} & set(json.loads(payload))
    assert rest == b""


def test_a_consumer_without_examples_is_an_error_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StoredEvents, "examples", ())
    with pytest.raises(ConfigurationError, match="'events' has no example messages"):
        example_messages("events")
