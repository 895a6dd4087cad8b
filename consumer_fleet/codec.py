"""The input and output of a consumer's codec: a raw Kafka message, and an envelope to deliver.

A codec is one callable, ``decode``. It runs in a worker, is pure, and either returns an
``Envelope``, returns ``Skipped`` (the message is filtered on purpose), or raises
``RejectedMessage`` (the message becomes a dead letter). Any other exception is treated as a
rejection with the reason ``codec_error``: one message never stops a consumer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.dead_letter_headers import Headers

# The namespace of event ids that are derived from a message's position in Kafka. It never changes:
# a redelivered message must get the event id that it got the first time.
_EVENT_ID_NAMESPACE = uuid.UUID("6f6a8f0e-3a57-5d0b-9c6e-0d1f1a5b7c11")


class RawMessage(NamedTuple):
    """One message as Kafka holds it.

    ``timestamp_ms`` is None where the broker gives none; ``value`` is None for a tombstone. Key and
    headers stay in the parent, unless the run has a ``Prepare``: a codec does without them.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()

    def derived_event_id(self) -> str:
        """An event id (32 hex digits) that is the same at every delivery of this message."""
        name = f"{self.topic}/{self.partition}/{self.offset}"
        return uuid.uuid5(_EVENT_ID_NAMESPACE, name).hex


class Skipped(NamedTuple):
    """The message carries nothing to deliver. ``reason`` is a short fixed identifier."""

    reason: str


Decode: TypeAlias = Callable[[RawMessage], Envelope | Skipped]
# Changes a message in the worker before its codec sees it; the same rules apply as for a codec.
Prepare: TypeAlias = Callable[[RawMessage], RawMessage | Skipped]
