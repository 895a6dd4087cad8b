"""The demonstration's messages: real ones, made fresh, that their consumers can read."""

from __future__ import annotations

import json
import time
from itertools import islice

import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Decoded, RawMessage
from consumer_fleet.consumers.events import StoredEvents
from consumer_fleet.consumers.format import json_object
from consumer_fleet.consumers.registry import CONSUMERS, ConsumerDefinition
from consumer_fleet.consumers.registry import get as registry_get
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.run.demonstration import example_messages

# The types that are not events of their own, and what stands for their age and identity.
ITEM_TYPES = {
    "transactions": ["transaction"],
    "ingest-transactions": ["transaction"],
    "ingest-feedback-events": ["feedback"],
    "ingest-attachments": ["event", "attachment"],
    "ingest-replay-recordings": ["replay_recording"],
    "ingest-monitors": ["check_in"],
    "profiles": ["profile_chunk"],
}


def decoded(definition: ConsumerDefinition, count: int) -> list[Decoded]:
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
    # Two in three examples of ingest-monitors are pulses of its clock.
    assert len(envelopes) >= (30 if definition.name == "ingest-monitors" else 90)
    assert len({(each.event_id, each.items) for each in envelopes}) == len(envelopes)
    for envelope in envelopes:
        types = [item.type for item in envelope.items]
        assert types == ITEM_TYPES.get(definition.name, ["event"])
        event = json_object(envelope.items[0].payload) or {}
        assert event.get("event_id", envelope.event_id) == envelope.event_id
        assert abs(event.get("timestamp", time.time()) - time.time()) < 60


def test_an_example_transaction_keeps_its_duration_and_its_spans_are_within_it() -> None:
    for name in ("transactions", "ingest-transactions"):
        (envelope,) = decoded(registry_get(name), 1)
        assert isinstance(envelope, Envelope)
        event = json.loads(envelope.items[0].payload)
        assert event["start_timestamp"] > time.time() - 60
        for span in event["spans"]:
            assert event["start_timestamp"] <= span["start_timestamp"] <= span["timestamp"]
            assert span["timestamp"] <= event["timestamp"]


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
