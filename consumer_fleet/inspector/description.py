"""Title, type and searchable text of an entry, computed once when it is stored.

Events are untrusted: nothing here raises for their content, and all texts are short, on one line,
and valid UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeGuard

import orjson

from consumer_fleet.capture.envelope import Item, normalize_event_id
from consumer_fleet.capture.items import HAS_EVENT
from consumer_fleet.inspector.entry import NewEntry

_SECURITY_TYPES: Final = ("csp", "hpkp", "expectct", "expectstaple")
_EVENT_TYPES: Final = frozenset({"error", "default", "generic", "nel", *_SECURITY_TYPES})
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "fatal"})
# Levels of logs, which have one more.
_SEVERITY: Final[Mapping[str, int]] = MappingProxyType(
    {"trace": 0, "debug": 1, "info": 2, "warning": 3, "error": 4, "fatal": 5}
)

# Larger events are listed without being parsed, which would take several times their size. Servers
# refuse events of more than 1 MiB.
_PARSED_BYTES: Final = 2 * 1024 * 1024
_TITLE_CHARS: Final = 200
_NAME_CHARS: Final = 100
_SEARCHED_CHARS: Final = 2000
_TAGS: Final = 50
# Sentry turns these into tags.
_TAG_MEMBERS: Final = ("release", "environment", "server_name", "logger")
# Longer texts are cut before any other processing.
_CUT_CHARS: Final = 2000
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

JsonObject = Mapping[str, Any]
_NOTHING: Final[JsonObject] = MappingProxyType({})


class Description(NamedTuple):
    """``searched`` is the case-folded text that searches read.

    ``event_id`` is the envelope's, or the event's own if the header has none.
    """

    type: str
    level: str | None
    title: str
    culprit: str
    platform: str | None
    searched: str = ""
    event_id: str | None = None


def describe(entry: NewEntry) -> Description:
    """Describe an entry. Never raises; takes a few microseconds per KiB of the event."""
    found, event = _describe_content(entry)
    event_id = None if entry.envelope is None else entry.envelope.event_id
    if event_id is None:
        event_id = normalize_event_id(event.get("event_id"))
    # Tags come last: if there are many, some are cut off.
    words = [found.title, found.culprit, found.type]
    if event_id is not None:
        words.append(event_id)
    if entry.origin is not None:
        words.append(entry.origin.topic)
    if entry.dead_letter is not None:
        words += [entry.dead_letter.reason, entry.dead_letter.detail, entry.dead_letter.topic]
    searched = "\n".join([*words, *_tags(event)])[:_SEARCHED_CHARS].casefold()
    return found._replace(event_id=event_id, searched=searched)


def event_index(items: tuple[Item, ...]) -> int | None:
    """The index of the item that is the event, or None."""
    return next((index for index, item in enumerate(items) if item.type in HAS_EVENT), None)


def one_line(value: object, limit: int = _TITLE_CHARS) -> str:
    """``value`` as one line of valid text for stores and encoders; "" if it is not a scalar."""
    if value is None or (type(value) is str and value.isalnum() and len(value) <= limit):
        return value or ""  # a fast path for most values
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = str(value)[:_CUT_CHARS]
    except ValueError:  # an integer of thousands of digits
        return ""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # lone surrogates are not valid UTF-8
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _describe_content(entry: NewEntry) -> tuple[Description, JsonObject]:
    if entry.envelope is None:
        title = one_line(entry.undecodable) or "undecodable"
        return Description("undecodable", None, title, "", None), _NOTHING
    items = entry.envelope.items
    index = event_index(items)
    if index is not None:
        event = _load(items[index].payload)
        return _describe_event(items[index].type, event), event
    if not items:
        return Description("empty", None, "an envelope without items", "", None), _NOTHING
    kind = one_line(items[0].type, _NAME_CHARS)
    found = _title_of_items(items)
    return Description(kind, found.level, found.title, "", None), _NOTHING


def _describe_event(item_type: str, event: JsonObject) -> Description:
    exception = _main_exception(event)
    kind = _event_type(item_type, event, exception)
    level = event.get("level")
    if not isinstance(level, str) or level not in _LEVELS:
        # Sentry's default level is error.
        level = None if kind in ("transaction", "feedback") else "error"
    return Description(
        kind,
        level,
        _event_title(kind, event, exception) or "(no title)",
        one_line(event.get("transaction")) or _culprit(exception),
        one_line(event.get("platform"), _NAME_CHARS) or None,
    )


def _event_type(item_type: str, event: JsonObject, exception: JsonObject) -> str:
    own = event.get("type")
    if item_type == "transaction" or own == "transaction":
        return "transaction"
    if item_type in ("feedback", "user_report_v2") or own == "feedback":
        return "feedback"
    for name in _SECURITY_TYPES:
        if name in event:
            return name
    if exception:
        return "error"
    return own if isinstance(own, str) and own in _EVENT_TYPES - {"error"} else "default"


def _event_title(kind: str, event: JsonObject, exception: JsonObject) -> str:
    if kind == "transaction":
        return one_line(event.get("transaction"))
    if kind == "feedback":
        return one_line(_object(_object(event.get("contexts")).get("feedback")).get("message"))
    if exception:
        name, value = one_line(exception.get("type")), _first_line(exception.get("value"))
        return one_line(f"{name}: {value}" if name and value else name or value)
    if kind in _SECURITY_TYPES:
        report = _object(event.get(kind))
        directive = report.get("effective_directive") or report.get("violated_directive")
        blocked = one_line(report.get("blocked_uri"))
        return one_line(f"Blocked {one_line(directive) or kind} from {blocked or 'unknown'}")
    return _message(event)


def _message(event: JsonObject) -> str:
    for value in (event.get("logentry"), event.get("message")):
        entry = _object(value)
        text = _first_line(entry.get("formatted") or entry.get("message") or value)
        if text:
            return text
    return ""


def _first_line(value: object) -> str:
    if not isinstance(value, str):
        return one_line(value)
    return one_line(value[:_CUT_CHARS].strip().partition("\n")[0])


def _main_exception(event: JsonObject) -> JsonObject:
    """The last exception of the chain, raised last: Sentry's title of an error comes from it."""
    chain = event.get("exception")
    values = chain.get("values", chain) if isinstance(chain, dict) else chain
    if isinstance(values, list):
        return next((value for value in reversed(values) if _object(value)), _NOTHING)
    return _object(values)


def _culprit(exception: JsonObject) -> str:
    """The function that raised it: the innermost application frame, else the innermost frame."""
    frames = _object(exception.get("stacktrace")).get("frames")
    if not isinstance(frames, list):
        return ""
    known = [frame for frame in frames if isinstance(frame, dict)]
    frame = next((each for each in reversed(known) if each.get("in_app") is True), None)
    if frame is None:
        frame = known[-1] if known else {}
    file = one_line(frame.get("module")) or one_line(frame.get("filename"))
    function = one_line(frame.get("function"))
    return one_line(f"{file} in {function}" if file and function else file or function)


def _tags(event: JsonObject) -> Iterator[str]:
    for name in _TAG_MEMBERS:
        if name in event and (value := one_line(event[name])):
            yield f"{name}:{value}"
    tags = event.get("tags")
    pairs = list(tags.items()) if isinstance(tags, dict) else tags
    if isinstance(pairs, list):
        for pair in pairs[:_TAGS]:
            if isinstance(pair, list | tuple) and len(pair) == 2:
                yield f"{one_line(pair[0], _NAME_CHARS)}:{one_line(pair[1])}"


class _ItemTitle(NamedTuple):
    title: str
    level: str | None = None


def _title_of_items(items: tuple[Item, ...]) -> _ItemTitle:
    describe_item = _ITEM_TITLES.get(items[0].type)
    found = describe_item(_load(items[0].payload)) if describe_item is not None else None
    if found is not None and found.title:
        return found._replace(title=one_line(found.title))
    return _ItemTitle(one_line(", ".join(dict.fromkeys(item.type for item in items[:20]))))


def _logs(payload: JsonObject) -> _ItemTitle:
    """The first of the most severe logs."""
    logs = _objects(payload.get("items"))
    if not logs:
        return _ItemTitle("")
    log = max(logs, key=lambda each: _SEVERITY.get(_log_level(each) or "", -1))
    more = _more(len(logs), "log")
    text = one_line(_first_line(log.get("body")), _TITLE_CHARS - len(more)) or "(no message)"
    return _ItemTitle(text + more, _log_level(log))


def _log_level(log: JsonObject) -> str | None:
    level = log.get("level")
    level = "warning" if level == "warn" else level
    return level if isinstance(level, str) and level in _SEVERITY else None


def _metrics(payload: JsonObject) -> _ItemTitle:
    metrics = _objects(payload.get("items"))
    if not metrics:
        return _ItemTitle("")
    name, kind, unit = (one_line(metrics[0].get(key), 100) for key in ("name", "type", "unit"))
    value = one_line(_number(metrics[0].get("value")))
    words = [f"{kind} {name}".strip() or "(no name)", f"= {value}" if value else "", unit]
    return _ItemTitle(" ".join(filter(None, words)) + _more(len(metrics), "metric"))


def _session(session: JsonObject) -> _ItemTitle:
    status = one_line(session.get("status"), _NAME_CHARS)
    errors = session.get("errors")
    count = f" with {_count(errors, 'error')}" if _is_count(errors) and errors else ""
    return _ItemTitle(f"session {status}{count}{_of_release(session)}" if status else "")


def _sessions(payload: JsonObject) -> _ItemTitle:
    """The totals of all aggregates."""
    aggregates = _objects(payload.get("aggregates"))
    parts = []
    for status in ("exited", "errored", "abnormal", "crashed"):
        total = sum(each[status] for each in aggregates if _is_count(each.get(status)))
        if total:
            parts.append(f"{total} {status}")
    return _ItemTitle(f"sessions{_of_release(payload)}: {', '.join(parts)}" if parts else "")


def _of_release(session: JsonObject) -> str:
    release = one_line(_object(session.get("attrs")).get("release"), _NAME_CHARS)
    return f" of {release}" if release else ""


def _check_in(check_in: JsonObject) -> _ItemTitle:
    slug = one_line(check_in.get("monitor_slug"))
    duration = one_line(_number(check_in.get("duration")))
    took = f" after {duration} s" if duration else ""
    status = one_line(check_in.get("status"), _NAME_CHARS)
    return _ItemTitle(f"{slug}: {status}{took}" if slug else "")


def _user_report(report: JsonObject) -> _ItemTitle:
    name, comments = one_line(report.get("name"), _NAME_CHARS), one_line(report.get("comments"))
    return _ItemTitle(f"{name}: {comments}" if name and comments else comments)


def _client_report(report: JsonObject) -> _ItemTitle:
    parts = []
    for discarded in _objects(report.get("discarded_events")):
        category, reason = (one_line(discarded.get(key), 100) for key in ("category", "reason"))
        quantity = one_line(_number(discarded.get("quantity"))) or "?"
        parts.append(f"{quantity} {category or 'unknown'} ({reason or 'no reason'})")
    return _ItemTitle(f"discarded by the SDK: {', '.join(parts)}" if parts else "")


def _profile(profile: JsonObject) -> _ItemTitle:
    names = [_object(profile.get("transaction")).get("name"), profile.get("transaction_name")]
    names += [each.get("name") for each in _objects(profile.get("transactions"))]
    name = next(filter(None, map(one_line, names)), "")
    return _ItemTitle(f"profile of {name}" if name else "")


def _profile_chunk(chunk: JsonObject) -> _ItemTitle:
    samples = _object(chunk.get("profile")).get("samples")
    count = _count(len(samples), "sample") if isinstance(samples, list) else ""
    release = one_line(chunk.get("release"), _NAME_CHARS)
    of_release = f" of {release}" if release else ""
    return _ItemTitle(f"profile{of_release}: {count}" if count else "")


_ITEM_TITLES: Final[Mapping[str, Callable[[JsonObject], _ItemTitle]]] = MappingProxyType(
    {
        "log": _logs,
        "trace_metric": _metrics,
        "session": _session,
        "sessions": _sessions,
        "check_in": _check_in,
        "user_report": _user_report,
        "client_report": _client_report,
        "profile": _profile,
        "profile_chunk": _profile_chunk,
    }
)


def _more(total: int, what: str) -> str:
    return f" (and {_count(total - 1, f'more {what}')})" if total > 1 else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _number(value: object) -> object:
    """Without the decimals of a whole number: SDKs send 3 as 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _objects(value: object) -> list[JsonObject]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else _NOTHING


def _load(payload: bytes) -> JsonObject:
    if len(payload) > _PARSED_BYTES:
        return _NOTHING
    try:
        return _object(orjson.loads(payload))
    except orjson.JSONDecodeError:
        pass
    try:
        # orjson is too strict for what SDKs send: NaN, and lone surrogates.
        return _object(json.loads(payload))
    except (ValueError, RecursionError):
        return _NOTHING
