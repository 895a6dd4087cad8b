"""What a replay does to a message before its codec sees it: back to what it was, then mended."""

from __future__ import annotations

from dataclasses import dataclass

from consumers import registry
from consumers.replay.transform import apply, load_transform
from fleet.capture.envelope import Envelope
from fleet.codec import RawMessage, Skipped
from fleet.dead_letter_headers import restore
from fleet.errors import RejectedMessage


@dataclass(frozen=True, slots=True)
class Restore:
    """A ``Prepare`` that pickles into workers. ``transform`` is a reference, MODULE:FUNCTION.

    A dead letter gets back its own headers, and the place and the time that it had when it was
    first rejected: the event id that is derived from them is the one of its first delivery.
    """

    transform: str | None = None

    def __call__(self, message: RawMessage) -> RawMessage | Skipped:
        restored = _as_it_was(message)
        return restored if self.transform is None else _transformed(self.transform, restored)


def _as_it_was(message: RawMessage) -> RawMessage:
    found = restore(message.headers)
    if found is None:
        return message
    origin = found.origin
    return message._replace(
        topic=origin.topic,
        partition=origin.partition,
        offset=origin.offset,
        timestamp_ms=origin.timestamp_ms,
        headers=found.headers,
    )


def _transformed(reference: str, message: RawMessage) -> RawMessage | Skipped:
    # Only a worker whose run has a transform pays for this import, and it makes no client of it.
    from fleet.kafka.chunk import Record  # noqa: PLC0415 - see above

    record = Record(
        message.offset,
        message.timestamp_ms,
        message.key,
        message.value,
        tuple((name, value) for name, value in message.headers),
    )
    result = apply(load_transform(reference), record)
    if result is None:
        return Skipped("transform")
    # Its place stays: the same message has the same event id, whatever was mended in it.
    return message._replace(
        timestamp_ms=result.timestamp_ms,
        key=result.key,
        value=result.value,
        headers=result.headers,
    )


@dataclass(frozen=True, slots=True)
class DecodeByOrigin:
    """A ``Decode`` for dead letters of several topics: pairs of a topic and its consumer."""

    consumers: tuple[tuple[str, str], ...]

    def __call__(self, message: RawMessage) -> Envelope | Skipped:
        name = dict(self.consumers).get(message.topic)
        if name is None:
            raise RejectedMessage("unknown_origin", f"no consumer is known for {message.topic!r}")
        return registry.get(name).decode(message)
