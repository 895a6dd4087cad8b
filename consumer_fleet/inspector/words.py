"""The words by which an entry is found, and the traces that it is part of.

Events are untrusted: nothing here raises for their content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from consumer_fleet.capture.envelope import normalize_event_id
from consumer_fleet.inspector.description import Description, Payloads
from consumer_fleet.inspector.entry import NewEntry
from consumer_fleet.inspector.untrusted import (
    JsonObject,
    as_object,
    as_objects,
    load,
    one_line,
    valid_text,
)

# An entry is found by everything shown of it, up to this many characters.
_SEARCHED_CHARS: Final = 6000
_TEXT_CHARS: Final = 500
_VALUES: Final = 2000
_TRACES: Final = 100
# Sentry turns these into tags.
_TAG_MEMBERS: Final = ("release", "environment", "server_name", "logger")
# First the members that people search by: stack frames could fill the limit alone.
_FIRST_MEMBERS: Final = ("user", "logentry", "message", "breadcrumbs", "request", "contexts")
_FRAMES: Final = frozenset({"stacktrace", "raw_stacktrace", "debug_meta", "sdk", "_meta"})
# Much text that is alike in all events: the packages, and the source around the lines that ran.
_PACKAGES: Final = "modules"
_PASSED_OVER: Final = _FRAMES | {"pre_context", "post_context"}


def searched_text(
    entry: NewEntry, about: Description, payloads: Payloads, traces: Iterable[str]
) -> str:
    """Everything by which the entry is found, case-folded; ``traces`` are its ``trace_ids``."""
    texts: dict[str, None] = {}
    left = _SEARCHED_CHARS
    for text in _texts(entry, about, payloads, traces):
        word = valid_text(text[:_TEXT_CHARS]).casefold()
        if word and word not in texts:
            texts[word] = None
            left -= len(word) + 1
            if left <= 0:
                break
    return "\n".join(texts)[:_SEARCHED_CHARS]


def trace_ids(payloads: Payloads) -> list[str]:
    """The traces of an envelope's items, each once."""
    found: dict[str, None] = {}
    for index in range(len(payloads.items)):
        for value in _trace_ids_of(payloads[index]):
            trace_id = normalize_event_id(value)
            if trace_id is not None:
                found[trace_id] = None
            if len(found) >= _TRACES:
                return list(found)
    return list(found)


def _trace_ids_of(payload: JsonObject) -> Iterator[Any]:
    yield as_object(as_object(payload.get("contexts")).get("trace")).get("trace_id")
    yield payload.get("trace_id")
    yield as_object(payload.get("transaction")).get("trace_id")  # of a profile
    for member in as_objects(payload.get("items")):
        yield member.get("trace_id")


def _texts(
    entry: NewEntry, about: Description, payloads: Payloads, traces: Iterable[str]
) -> Iterator[str]:
    yield from (about.title, about.culprit, about.type, about.event_id or "")
    if entry.origin is not None:
        yield entry.origin.topic
    if entry.dead_letter is not None:
        yield from (entry.dead_letter.reason, entry.dead_letter.detail, entry.dead_letter.topic)
    if entry.undecodable is not None:
        yield entry.undecodable
    yield from traces
    for item in payloads.items[:_TRACES]:
        yield item.type
        yield one_line(load(item.header).get("filename"))
    for index in range(len(payloads.items)):
        yield from _texts_of(payloads[index])


def _texts_of(payload: JsonObject) -> Iterator[str]:
    yield from _tags(payload)
    for exception in _exceptions(payload):
        yield one_line(exception.get("type"))
        yield one_line(exception.get("value"), _TEXT_CHARS)
    first = [payload[name] for name in _FIRST_MEMBERS if name in payload]
    used = (*_FIRST_MEMBERS, _PACKAGES)
    rest = (value for name, value in payload.items() if name not in used)
    yield from _strings([*first, *rest])


def _tags(event: JsonObject) -> Iterator[str]:
    for name in _TAG_MEMBERS:
        if value := one_line(event.get(name)):
            yield f"{name}:{value}"
    tags = event.get("tags")
    for pair in list(tags.items()) if isinstance(tags, dict) else _list(tags):
        if isinstance(pair, list | tuple) and len(pair) == 2:
            yield f"{one_line(pair[0])}:{one_line(pair[1])}"


def _exceptions(event: JsonObject) -> list[JsonObject]:
    chain = event.get("exception")
    return as_objects(chain.get("values", [chain]) if isinstance(chain, dict) else chain)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(values: Iterable[Any]) -> Iterator[str]:
    """All strings and whole numbers in there, stack frames last."""
    waiting: list[Any] = list(values)[::-1]
    frames: list[Any] = []
    for _ in range(_VALUES):
        if not waiting:
            if not frames:
                return
            waiting, frames = frames, []
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            frames += [each for name, each in value.items() if name in _FRAMES]
            members = [(name, each) for name, each in value.items() if name not in _PASSED_OVER]
            waiting += [_attribute(name, each) for name, each in reversed(members)]
        elif isinstance(value, list):
            waiting += value[::-1]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield one_line(value)


def _attribute(name: str, value: Any) -> Any:
    """An attribute of a log, metric or span is found by its name and value."""
    if isinstance(value, dict) and "value" in value and "type" in value:
        return f"{one_line(name)}:{one_line(value['value'])}"
    return value
