"""A user's function that fixes messages before they are replayed: ``MODULE:FUNCTION``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from consumer_fleet.codec import Decoded, RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import RejectedMessage
from consumer_fleet.worker.transforms import error_and_line, load_function

if TYPE_CHECKING:
    from consumer_fleet.consumers.format import FormatOptions, MessageFormat
    from consumer_fleet.kafka.chunk import Record

    Transform: TypeAlias = Callable[[Record], Record | None]

_REASON = "transform_failed"


def load_transform(reference: str) -> Transform:
    """Import the function that ``MODULE:FUNCTION`` names; the working directory is searched last.

    Raises ConfigurationError, which names the part that is wrong.
    """
    return load_function(reference, "transform")


def apply(transform: Transform, record: Record) -> Record | None:
    """Call the function with the record. Raises RejectedMessage if it fails."""
    try:
        result = transform(record)
    except RejectedMessage:
        raise
    except MemoryError:
        # As with a codec: not necessarily the message's fault.
        raise
    except Exception as error:
        raise RejectedMessage(_REASON, error_and_line(error)) from error
    if result is None:
        return None
    if not isinstance(result, type(record)):
        kind = type(result).__name__
        raise RejectedMessage(_REASON, f"it returned {kind}: neither Record nor None")
    for name, part in (("key", result.key), ("value", result.value)):
        if not isinstance(part, bytes | None):
            raise RejectedMessage(_REASON, f"it made the {name} a {type(part).__name__}, not bytes")
    return result


@dataclass(frozen=True, slots=True)
class Restore:
    """A ``Prepare`` that pickles into workers. ``transform`` is a reference, MODULE:FUNCTION.

    A dead letter gets back its own headers, and the position and time of its first rejection: the
    event id that is derived from them is the one of its first delivery.
    """

    transform: str | None = None

    def __call__(self, message: RawMessage) -> RawMessage | Skipped:
        restored = _restored(message)
        return restored if self.transform is None else _transformed(self.transform, restored)


def _restored(message: RawMessage) -> RawMessage:
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
    from consumer_fleet.kafka.chunk import Record  # noqa: PLC0415 - see above

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
    # Its position stays: the same message has the same event id, whatever was changed in it.
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
    options: FormatOptions | None = None

    def with_options(self, options: FormatOptions) -> DecodeByOrigin:
        """This codec as the options want it. Called in the worker, once."""
        return replace(self, options=options)

    def __call__(self, message: RawMessage) -> Decoded:
        found = self._format_of(message)
        if found is None:
            raise RejectedMessage("unknown_origin", f"no consumer is known for {message.topic!r}")
        return (found if self.options is None else found.with_options(self.options)).decode(message)

    def project_of(self, message: RawMessage) -> int | None:
        """The project of the message, where its format tells."""
        found = self._format_of(message)
        return None if found is None else found.project_of(message)

    def key_of(self, message: RawMessage) -> str | None:
        """The public key that the message was sent with, likewise."""
        found = self._format_of(message)
        return None if found is None else found.key_of(message)

    def _format_of(self, message: RawMessage) -> MessageFormat | None:
        name = dict(self.consumers).get(message.topic)
        return None if name is None else registry.get(name).format
