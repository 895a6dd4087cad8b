"""The messages of the benchmark are like those of production."""

from __future__ import annotations

import msgpack
import orjson

from bench.backlog import messages
from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.consumers import registry
from tests.support.messages import message

decode = registry.get("ingest-events").decode


def test_every_message_of_the_backlog_is_a_valid_event_of_the_promised_size() -> None:
    values = list(messages(50))
    assert all(1200 <= len(value) <= 1500 for value in values)
    for value in values:
        envelope = decode(message(value))
        assert isinstance(envelope, Envelope)
        assert orjson.loads(envelope.items[0].payload)["event_id"] == envelope.event_id
    assert len({msgpack.unpackb(value)["event_id"] for value in values}) == 50


def test_padded_messages_have_the_length_that_was_asked_for() -> None:
    (value,) = messages(1, 60_000)
    assert 61_200 <= len(value) <= 61_600
    assert isinstance(decode(message(value)), Envelope)
