"""The input and output of a consumer's codec: a raw Kafka message, and an envelope to deliver.

A codec is one callable, ``decode``. It runs in a worker, is pure, and either returns an
``Envelope``, returns ``Skipped`` (the message is filtered on purpose), or raises
``RejectedMessage`` (the message becomes a dead letter). Any other exception is treated as a
rejection with the reason ``codec_error``: one message never stops a consumer.

Where an envelope is spread over several messages, one of them decodes to an ``Incomplete`` and the
others to its ``Fragment``.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from consumer_fleet.capture.envelope import Envelope, with_payload
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


class Fragment(NamedTuple):
    """A piece of a blob, which waits for the message whose envelope the blob belongs to."""

    blob: bytes
    number: int
    content: bytes

    def __str__(self) -> str:
        return f"chunk {self.number} of an attachment, {len(self.content):,} bytes"


class Blob(NamedTuple):
    """A payload that is in other messages: as so many fragments, for the item at that position."""

    key: bytes
    fragments: int
    item: int


class Incomplete(NamedTuple):
    """An envelope whose blobs are in other messages.

    ``left_out`` has a reason for each attachment that no message holds.
    """

    envelope: Envelope
    blobs: tuple[Blob, ...]
    left_out: tuple[str, ...] = ()

    def completed(self, contents: Mapping[bytes, bytes]) -> Envelope | Skipped:
        """The envelope with the contents of its blobs, by key, and without the items of others."""
        items = list(self.envelope.items)
        missing = set()
        for blob in self.blobs:
            content = contents.get(blob.key)
            if content is None:
                missing.add(blob.item)
            else:
                items[blob.item] = with_payload(items[blob.item], content)
        kept = tuple(item for position, item in enumerate(items) if position not in missing)
        return self.envelope._replace(items=kept) if kept else Skipped("missing_chunks")


Decoded: TypeAlias = Envelope | Skipped | Fragment | Incomplete
Decode: TypeAlias = Callable[[RawMessage], Decoded]
# Changes a message in the worker before its codec sees it; the same rules apply as for a codec.
Prepare: TypeAlias = Callable[[RawMessage], RawMessage | Skipped]
