"""A user's function that fixes messages before they are replayed: ``MODULE:FUNCTION``."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from consumer_fleet.capture.envelope import Envelope
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.dead_letter_headers import restore
from consumer_fleet.errors import ConfigurationError, RejectedMessage

if TYPE_CHECKING:
    from consumer_fleet.kafka.chunk import Record

    Transform: TypeAlias = Callable[[Record], Record | None]

_REASON = "transform_failed"


@cache
def load_transform(reference: str) -> Transform:
    """Import the function that ``MODULE:FUNCTION`` names; the working directory is searched last.

    Raises ConfigurationError, which names the part that is wrong.
    """
    module_name, separator, function_name = reference.partition(":")
    if not separator or not module_name or not function_name:
        raise ConfigurationError(f"transform {reference!r} is not MODULE:FUNCTION, as in fix:run")
    here = str(Path.cwd())
    if here not in sys.path:
        # Last: a file there must not replace a module of this program, whatever its name.
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:
        # A user's module may raise anything while it is imported.
        raise ConfigurationError(
            f"transform {reference!r}: {module_name} can't be imported: {_where(error)}"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"transform {reference!r}: {module_name} has no such function")
    transform: Transform = found
    return transform


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
        raise RejectedMessage(_REASON, _where(error)) from error
    if result is None:
        return None
    if not isinstance(result, type(record)):
        kind = type(result).__name__
        raise RejectedMessage(_REASON, f"it returned {kind}: neither Record nor None")
    for name, part in (("key", result.key), ("value", result.value)):
        if not isinstance(part, bytes | None):
            raise RejectedMessage(_REASON, f"it made the {name} a {type(part).__name__}, not bytes")
    return result


def _where(error: Exception) -> str:
    """The error and the line that raised it, for the author of the function."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


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

    def __call__(self, message: RawMessage) -> Envelope | Skipped:
        name = dict(self.consumers).get(message.topic)
        if name is None:
            raise RejectedMessage("unknown_origin", f"no consumer is known for {message.topic!r}")
        return registry.get(name).decode(message)
