"""The user's transforms: functions that change or drop events in the workers, before delivery.

A transform is what the SDK calls ``before_send``: it gets the event as a dict and a hint, and
returns the event, or None to drop it. It sees the items of the types that its attribute
``item_types`` lists, by default errors alone. Only those payloads are parsed.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeAlias

import orjson

from consumer_fleet.bootstrap.redaction import redact
from consumer_fleet.capture.envelope import Envelope, Item
from consumer_fleet.capture.items import EVENTS, HAS_EVENT, NEEDS_EVENT
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.errors import ConfigurationError, RejectedMessage
from consumer_fleet.humanize import did_you_mean
from consumer_fleet.metrics import incr
from consumer_fleet.printable import without_credentials

ENTRY_POINT_GROUP: Final = "consumer_fleet.transforms"
#: Those of this program, by name.
OWN: Final[Mapping[str, str]] = MappingProxyType(
    {"sentry-scrubbing": "consumer_fleet.worker.sentry_scrubbing:scrub"}
)

Event: TypeAlias = dict[str, Any]
#: ``topic``, ``partition``, ``offset`` and ``timestamp_ms`` of the message, and the ``item_type``.
Hint: TypeAlias = dict[str, Any]

_DEFAULT_ITEM_TYPES: Final = ("event",)
_REASON: Final = "transform_failed"
# As many frames of a trace as a dead letter's detail has room for.
_FRAMES: Final = 6


class Transform(Protocol):
    """A function, or another callable."""

    def __call__(self, event: Event, hint: Hint, /) -> Event | None: ...


class Transforms:
    """The transforms of a worker, in order. Raises ConfigurationError for one that can't be used.

    Called with each envelope. Returns it unchanged if it has no item for a transform.
    """

    def __init__(self, names: Iterable[str]) -> None:
        by_type: dict[str, list[Transform]] = {}
        for name in names:
            transform = _load(name)
            for item_type in _item_types(name, transform):
                by_type.setdefault(item_type, []).append(transform)
        self._by_type = by_type

    def __call__(self, envelope: Envelope, message: RawMessage) -> Envelope | Skipped:
        """Raises RejectedMessage if a transform fails, or can't be shown the event."""
        by_type = self._by_type
        if not any(item.type in by_type for item in envelope.items):
            return envelope
        kept: list[Item] = []
        dropped_event = False
        for item in envelope.items:
            transforms = by_type.get(item.type)
            changed = item if transforms is None else _changed(item, transforms, message)
            if changed is not None:
                kept.append(changed)
            else:
                incr("transform.dropped", tags={"type": item.type})
                dropped_event = dropped_event or item.type in EVENTS
        if dropped_event:
            # Attachments and the like belong to the event; an upstream would drop them with it.
            kept = [item for item in kept if item.type not in NEEDS_EVENT]
        return envelope._replace(items=tuple(kept)) if kept else Skipped("transform")


def _changed(item: Item, transforms: Iterable[Transform], message: RawMessage) -> Item | None:
    """The item as the transforms leave it; None if one of them drops it."""
    event = _parse(item)
    event_id = event.get("event_id")
    for transform in transforms:
        hint = {
            "topic": message.topic,
            "partition": message.partition,
            "offset": message.offset,
            "timestamp_ms": message.timestamp_ms,
            "item_type": item.type,
        }
        result = _call(transform, event, hint)
        if result is None:
            return None
        event = result
    if event.get("event_id") != event_id:
        # The envelope's header names this id, and a redelivery must have the same one.
        event["event_id"] = event_id
    try:
        payload = orjson.dumps(event)
    except orjson.JSONEncodeError as error:
        detail = f"the event that it returned is not JSON: {error}"
        raise RejectedMessage(_REASON, detail[:300]) from error
    header = orjson.loads(item.header)
    header["length"] = len(payload)
    return Item(orjson.dumps(header), item.type, payload)


def _parse(item: Item) -> Event:
    # An event that a transform can't see does not pass: the transform may be there to hide data.
    try:
        event = orjson.loads(item.payload)
    except orjson.JSONDecodeError as error:
        raise RejectedMessage("invalid_json", f"the {item.type}: {error}") from error
    if not isinstance(event, dict):
        raise RejectedMessage("invalid_event", f"the {item.type} is not a JSON object")
    return event


def _call(transform: Transform, event: Event, hint: Hint) -> Event | None:
    try:
        result: object = transform(event, hint)
    except (RejectedMessage, MemoryError):
        # As with a codec: it may reject, and no memory is not necessarily the message's fault.
        raise
    except (Exception, SystemExit) as error:
        raise RejectedMessage(_REASON, _trace(error)) from error
    if result is None or isinstance(result, dict):
        return result
    raise RejectedMessage(_REASON, f"it returned {type(result).__name__}: neither dict nor None")


def _trace(error: BaseException) -> str:
    """The error and the lines that led to it, the innermost first, without known secrets."""
    frames = traceback.extract_tb(error.__traceback__)[1:][-_FRAMES:]
    lines = [f"{Path(each.filename).name}:{each.lineno} in {each.name}" for each in frames[::-1]]
    text = f"{type(error).__name__}: {without_credentials(str(error))[:300]}"
    return redact(f"{text} ({'; '.join(lines)})" if lines else text)


# -- their names -----------------------------------------------------------------------------------


def _load(name: str) -> Transform:
    """The transform of ``MODULE:FUNCTION``, of an entry point's name, or of this program."""
    if ":" in name:
        return load_function(name, "transform")
    if name in OWN:
        return load_function(OWN[name], "transform")
    found = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    if len(found) == 1:
        return load_function(found[0].value, f"transform {name!r}:")
    if found:
        owners = " and ".join(sorted(each.dist.name for each in found if each.dist is not None))
        raise ConfigurationError(f"transform {name!r}: {owners} both provide it: uninstall one")
    known = [*OWN, *sorted({each.name for each in entry_points(group=ENTRY_POINT_GROUP)})]
    hint = did_you_mean(name, known, cutoff=0.7)
    raise ConfigurationError(
        f"there is no transform {name!r}{hint} Give MODULE:FUNCTION, or one of {', '.join(known)}."
    )


def _item_types(name: str, transform: Transform) -> tuple[str, ...]:
    wanted = getattr(transform, "item_types", _DEFAULT_ITEM_TYPES)
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        raise ConfigurationError(f"transform {name!r}: its item_types are not a list of types")
    types = tuple(wanted)
    for item_type in types:
        if item_type not in HAS_EVENT:
            raise ConfigurationError(
                f"transform {name!r}: it asks for items of type {item_type!r}; transforms take "
                f"{', '.join(sorted(HAS_EVENT))}"
            )
    return types


@cache
def load_function(reference: str, what: str) -> Callable[..., Any]:
    """Import the function that ``MODULE:FUNCTION`` names; the working directory is searched last.

    Raises ConfigurationError, which begins with ``what`` and names the part that is wrong.
    """
    module_name, separator, function_name = reference.partition(":")
    if not separator or not module_name or not function_name:
        raise ConfigurationError(f"{what} {reference!r} is not MODULE:FUNCTION, as in fix:run")
    here = str(Path.cwd())
    if here not in sys.path:
        # Last: a file there must not replace a module of this program, whatever its name.
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module_name)
        for part in function_name.split("."):
            found = getattr(found, part, None)
    except (Exception, SystemExit) as error:
        # A user's module may raise anything while it is imported.
        raise ConfigurationError(
            f"{what} {reference!r}: {module_name} can't be imported: {error_and_line(error)}"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"{what} {reference!r}: {module_name} has no such function")
    return found


def error_and_line(error: BaseException) -> str:
    """The error and the line that raised it, for the author of the function."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
