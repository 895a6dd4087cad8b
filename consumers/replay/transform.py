"""A user's own function that mends messages before they are replayed: ``MODULE:FUNCTION``."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fleet.errors import ConfigurationError, RejectedMessage

if TYPE_CHECKING:
    from fleet.kafka.chunk import Record

    Transform: TypeAlias = Callable[[Record], Record | None]

_REASON = "transform_failed"


@cache
def load_transform(reference: str) -> Transform:
    """Import the function that ``MODULE:FUNCTION`` names; the working directory is searched last.

    Raises ConfigurationError, which says what of it is wrong.
    """
    module_name, separator, function_name = reference.partition(":")
    if not separator or not module_name or not function_name:
        raise ConfigurationError(f"transform {reference!r} is not MODULE:FUNCTION, as in fix:run")
    here = str(Path.cwd())
    if here not in sys.path:
        # Last: a file of any name there must not take the place of a module of this program.
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module_name), function_name, None)
    except Exception as error:
        # Whatever the user's module raises while it is imported is the user's to mend.
        raise ConfigurationError(
            f"transform {reference!r}: {module_name} can't be imported: {_where(error)}"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"transform {reference!r}: {module_name} has no such function")
    transform: Transform = found
    return transform


def apply(transform: Transform, record: Record) -> Record | None:
    """What the function makes of the record. Raises RejectedMessage where it fails."""
    try:
        result = transform(record)
    except RejectedMessage:
        raise
    except MemoryError:
        # As with a codec: not the message's fault for sure.
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
    """The error and the line that raised it: what a person needs to mend the function."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
