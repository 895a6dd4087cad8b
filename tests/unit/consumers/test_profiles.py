"""Profiles: chunks to envelopes, and profiles of transactions skipped."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.errors import RejectedMessage
from tests.support.messages import examples, message

decode = registry.get("profiles").decode

CHUNK = (
    b'{"profiler_id":"4d229f310afa4b1f9a2b4ee7d6a9d5b1","chunk_id":"0432a0a4c25f4697bf9f0a2fcbe6a814",'
    b'"platform":"cocoa","version":"2","profile":{"samples":[],"stacks":[],"frames":[]}}'
)


def written_by_relay(**members: Any) -> bytes:
    """The bytes of ``ProfileChunkKafkaMessage`` in Relay's store.rs."""
    fields = {
        "type": "profile_chunk",
        "organization_id": 1,
        "project_id": 42,
        "received": 1_700_000_000,
        "retention_days": 90,
        "payload": CHUNK,
    }
    return bytes(msgpack.packb(fields | members))


def test_a_chunk_is_one_item_with_its_platform_and_keeps_its_bytes() -> None:
    envelope = decode(message(written_by_relay()))
    assert isinstance(envelope, Envelope)
    assert (envelope.header, envelope.event_id) == (b"{}", None)
    (item,) = envelope.items
    assert json.loads(item.header) == {
        "type": "profile_chunk",
        "platform": "cocoa",
        "length": len(CHUNK),
    }
    assert item.payload == CHUNK


@pytest.mark.parametrize("name", examples("profiles"))
def test_a_profile_of_a_transaction_is_skipped(name: str) -> None:
    assert decode(message(examples("profiles")[name])) == Skipped("needs_transaction")


def test_a_profile_without_a_key_is_one_of_a_transaction_too() -> None:
    fields = {"type": "profile", "key_id": None, "payload": b"{}"}
    assert decode(message(bytes(msgpack.packb(fields)))) == Skipped("needs_transaction")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xc1", "invalid_msgpack"),
        (written_by_relay(type="sample"), "unknown_type"),
        (written_by_relay(payload=1), "invalid_message"),
        (written_by_relay(payload=b""), "invalid_profile_chunk"),
        (written_by_relay(payload=b"[]"), "invalid_profile_chunk"),
        (written_by_relay(payload=b"{}"), "invalid_profile_chunk"),
        (written_by_relay(payload=b'{"platform":null}'), "invalid_profile_chunk"),
        (written_by_relay(payload=b'{"platform":"\xff"}'), "invalid_profile_chunk"),
        (written_by_relay(payload=b'{"a":' + b"[" * 100_000), "invalid_profile_chunk"),
        (written_by_relay(payload=CHUNK[:-1]), "invalid_profile_chunk"),
    ],
)
def test_what_relay_does_not_write_is_rejected_with_its_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(RejectedMessage) as caught:
        decode(message(raw))
    assert caught.value.reason == reason
    assert 0 < len(caught.value.detail) < 300
