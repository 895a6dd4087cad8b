"""The ``envelopes`` topic: raw Sentry envelopes, as an SDK sends them.

They pass byte for byte. Only an event id is added where an item can't do without one: a
redelivered envelope must be recognised upstream as the one that is already there.
"""

from __future__ import annotations

from typing import Final

import orjson

from consumer_fleet.capture.envelope import Envelope, Item, normalize_event_id, parse, with_event_id
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.payload import value_of

# Items that belong to an event: Relay's Item::requires_event (relay-server/src/envelope/item.rs).
_OF_AN_EVENT: Final = frozenset(
    {
        "attachment",
        "event",
        "feedback",
        "form_data",
        "profile",
        "raw_security",
        "replay_event",
        "security",
        "transaction",
        "unreal_report",
        "user_report",
    }
)
# Items whose payload names the event, in the order in which they are asked.
_NAMING: Final = ("event", "transaction", "feedback", "user_report")


def decode(message: RawMessage) -> Envelope | Skipped:
    """The envelope that the message is; Skipped if it holds no item."""
    envelope = parse(value_of(message))
    if not envelope.items:
        return Skipped("empty_envelope")
    if envelope.event_id is None and any(item.type in _OF_AN_EVENT for item in envelope.items):
        return with_event_id(envelope, _named_event_id(envelope) or message.derived_event_id())
    return envelope


def _named_event_id(envelope: Envelope) -> str | None:
    for wanted in _NAMING:
        for item in envelope.items:
            if item.type == wanted and (event_id := _payload_event_id(item)):
                return event_id
    return None


def _payload_event_id(item: Item) -> str | None:
    """None also for a payload that is no JSON: its upstream decides about it, not we."""
    try:
        payload = orjson.loads(item.payload)
    except orjson.JSONDecodeError:
        return None
    return normalize_event_id(payload.get("event_id")) if isinstance(payload, dict) else None
