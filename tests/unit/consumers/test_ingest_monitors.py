"""Check-ins: to envelopes while they are fresh, and skipped once they are not."""

from __future__ import annotations

import json
import pickle
from typing import Any

import msgpack
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.ingest_monitors import IngestMonitors
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import examples, message

SENT_AT = 1_700_000_000.0
CHECK_IN = (
    b'{"check_in_id":"19897db925604bdb888503948a180a5e","monitor_slug":"nightly","status":"ok",'
    b'"environment":"production","duration":100.0}'
)


class Options:
    check_in_max_age_s = 60.0
    dsns = ()


def written_by_relay(**members: Any) -> bytes:
    """The bytes of ``CheckInKafkaMessage`` in Relay's store.rs."""
    fields = {
        "type": "check_in",
        "message_type": "check_in",
        "payload": CHECK_IN,
        "start_time": int(SENT_AT),
        "sdk": "sentry.python/2.40.0",
        "project_id": 42,
        "retention_days": 90,
    }
    return bytes(msgpack.packb(fields | members))


def raw(value: bytes | None, timestamp_ms: int | None = int(SENT_AT * 1000)) -> RawMessage:
    return message(value)._replace(timestamp_ms=timestamp_ms)


def at(seconds_later: float, max_age_s: float = 600) -> IngestMonitors:
    return IngestMonitors(max_age_s, lambda: SENT_AT + seconds_later)


def test_a_check_in_is_one_item_and_keeps_its_bytes() -> None:
    envelope = at(5).decode(raw(written_by_relay()))
    assert isinstance(envelope, Envelope)
    assert envelope.header == b"{}"
    (item,) = envelope.items
    assert json.loads(item.header) == {"type": "check_in", "length": len(CHECK_IN)}
    assert item.payload == CHECK_IN


def test_the_schemas_examples_are_a_check_in_and_pulses() -> None:
    found = {name: at(0).decode(raw(value)) for name, value in examples("ingest-monitors").items()}
    check_in = found.pop("checkin.msgpack")
    assert isinstance(check_in, Envelope)
    assert json.loads(check_in.items[0].payload)["monitor_slug"] == "my-example-monitor"
    assert set(found.values()) == {Skipped("clock_pulse")}


@pytest.mark.parametrize(
    ("age_s", "max_age_s", "is_late"),
    [(0, 600, False), (600, 600, False), (600.5, 600, True), (-3600, 600, False), (61, 60, True),
     (1e9, 0, False)],
)  # fmt: skip
def test_a_check_in_is_skipped_once_it_is_older_than_the_limit(
    age_s: float, max_age_s: float, is_late: bool
) -> None:
    found = at(age_s, max_age_s).decode(raw(written_by_relay()))
    assert (found == Skipped("too_old")) is is_late


def test_without_a_broker_s_time_relays_own_counts() -> None:
    assert at(601).decode(raw(written_by_relay(), None)) == Skipped("too_old")
    assert isinstance(at(599).decode(raw(written_by_relay(), None)), Envelope)
    assert isinstance(at(601).decode(raw(written_by_relay(start_time="x"), None)), Envelope)


def test_the_brokers_time_counts_before_relays() -> None:
    late_in_kafka = written_by_relay(start_time=0)
    assert isinstance(at(1).decode(raw(late_in_kafka)), Envelope)


def test_the_limit_is_an_option_that_reaches_another_process() -> None:
    limited = pickle.loads(pickle.dumps(IngestMonitors().with_options(Options()).decode))
    assert limited(raw(written_by_relay(), 1000)) == Skipped("too_old")
    assert IngestMonitors(60, lambda: SENT_AT).with_options(Options())._max_age_s == 60


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"\x80", "unknown_type"),
        (written_by_relay(message_type=1), "unknown_type"),
        (written_by_relay(message_type=["check_in"]), "unknown_type"),
        (written_by_relay(payload=None), "invalid_message"),
    ],
)
def test_what_relay_does_not_write_is_rejected_with_its_reason(
    value: bytes | None, reason: str
) -> None:
    with pytest.raises(RejectedMessage) as caught:
        at(0).decode(raw(value))
    assert caught.value.reason == reason
