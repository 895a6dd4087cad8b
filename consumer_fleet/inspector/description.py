"""Title, type and issue of an entry, computed once when it is stored.

Events are untrusted: nothing here raises for their content, and all texts are short, on one line,
and valid UTF-8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from consumer_fleet.capture.envelope import Item, normalize_event_id
from consumer_fleet.capture.items import HAS_EVENT
from consumer_fleet.inspector.entry import NewEntry
from consumer_fleet.inspector.untrusted import (
    CUT_CHARS,
    LINE_CHARS,
    NOTHING,
    PARSED_BYTES,
    JsonObject,
    as_object,
    as_objects,
    is_count,
    load,
    one_line,
)

_SECURITY_TYPES: Final = ("csp", "hpkp", "expectct", "expectstaple")
_EVENT_TYPES: Final = frozenset({"error", "default", "generic", "nel", *_SECURITY_TYPES})
_LEVELS: Final = frozenset({"debug", "info", "warning", "error", "fatal"})
# Levels of logs, which have one more.
_SEVERITY: Final[Mapping[str, int]] = MappingProxyType(
    {"trace": 0, "debug": 1, "info": 2, "warning": 3, "error": 4, "fatal": 5}
)

_NAME_CHARS: Final = 100
# How an SDK names the default grouping in a fingerprint.
_DEFAULT_GROUPING: Final = frozenset({"{{ default }}", "{{default}}"})
_FINGERPRINT_PARTS: Final = 20


class Payloads:
    """The items of an envelope, each parsed once at most; all together up to a limit."""

    def __init__(self, items: tuple[Item, ...]) -> None:
        self.items = items
        self._left_bytes = PARSED_BYTES
        self._parsed: dict[int, JsonObject] = {}

    def __getitem__(self, index: int) -> JsonObject:
        found = self._parsed.get(index)
        if found is None:
            payload = self.items[index].payload
            found = self._parsed[index] = load(payload, self._left_bytes)
            if found is not NOTHING:
                self._left_bytes -= len(payload)
        return found


class Description(NamedTuple):
    """``event_id`` is the envelope's, or the event's own if the header has none.

    ``issue`` is the same for all events of one cause: it is made of the SDK's fingerprint, else of
    the exception's type and the culprit. None for what is not an error.
    """

    type: str
    level: str | None
    title: str
    culprit: str
    platform: str | None
    event_id: str | None = None
    issue: str | None = None


def describe(entry: NewEntry, payloads: Payloads | None = None) -> Description:
    """Describe an entry. Never raises; takes a few microseconds per KiB of the event."""
    if entry.envelope is None:
        return Description("undecodable", None, _problem(entry), "", None)
    items, event_id = entry.envelope.items, entry.envelope.event_id
    payloads = payloads or Payloads(items)
    index = event_index(items)
    if index is not None:
        event = payloads[index]
        found = _describe_event(items[index].type, event, entry.project)
        return found._replace(event_id=event_id or normalize_event_id(event.get("event_id")))
    if not items:
        return Description("empty", None, "an envelope without items", "", None, event_id)
    kind = one_line(items[0].type, _NAME_CHARS)
    title = _title_of_items(items, payloads[0])
    return Description(kind, title.level, title.title, "", None, event_id)


def _problem(entry: NewEntry) -> str:
    """A dead letter's own reason: that its format is unknown here says nothing about it."""
    letter = entry.dead_letter
    if letter is not None and letter.reason:
        return one_line(": ".join(filter(None, (letter.reason, letter.detail))))
    return one_line(entry.undecodable) or "undecodable"


def event_index(items: tuple[Item, ...]) -> int | None:
    """The index of the item that is the event, or None."""
    return next((index for index, item in enumerate(items) if item.type in HAS_EVENT), None)


def _describe_event(item_type: str, event: JsonObject, project: str) -> Description:
    exception = _main_exception(event)
    kind = _event_type(item_type, event, exception)
    level = event.get("level")
    if not isinstance(level, str) or level not in _LEVELS:
        # Sentry's default level is error.
        level = None if kind in ("transaction", "feedback") else "error"
    title = _event_title(kind, event, exception) or "(no title)"
    culprit = one_line(event.get("transaction")) or _culprit(exception)
    platform = one_line(event.get("platform"), _NAME_CHARS) or None
    # Without an exception's type, the title says what it is about.
    cause = (one_line(exception.get("type")) or title, culprit)
    issue = None
    if kind not in ("transaction", "feedback"):
        issue = _issue(project, event.get("fingerprint"), cause)
    return Description(kind, level, title, culprit, platform, issue=issue)


def _issue(project: str, fingerprint: object, cause: tuple[str, ...]) -> str:
    parts: list[str] = []
    for part in fingerprint[:_FINGERPRINT_PARTS] if isinstance(fingerprint, list) else ():
        text = one_line(part)
        parts += cause if text in _DEFAULT_GROUPING else [text]
    key = "\0".join([project, *(parts or cause)])
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


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
        return one_line(as_object(as_object(event.get("contexts")).get("feedback")).get("message"))
    if exception:
        name, value = one_line(exception.get("type")), _first_line(exception.get("value"))
        return one_line(f"{name}: {value}" if name and value else name or value)
    if kind in _SECURITY_TYPES:
        report = as_object(event.get(kind))
        directive = report.get("effective_directive") or report.get("violated_directive")
        blocked = one_line(report.get("blocked_uri"))
        return one_line(f"Blocked {one_line(directive) or kind} from {blocked or 'unknown'}")
    return _message(event)


def _message(event: JsonObject) -> str:
    for value in (event.get("logentry"), event.get("message")):
        entry = as_object(value)
        text = _first_line(entry.get("formatted") or entry.get("message") or value)
        if text:
            return text
    return ""


def _first_line(value: object) -> str:
    if not isinstance(value, str):
        return one_line(value)
    return one_line(value[:CUT_CHARS].strip().partition("\n")[0])


def _main_exception(event: JsonObject) -> JsonObject:
    """The last exception of the chain, raised last: Sentry's title of an error comes from it."""
    chain = event.get("exception")
    values = chain.get("values", chain) if isinstance(chain, dict) else chain
    if isinstance(values, list):
        return next((value for value in reversed(values) if as_object(value)), NOTHING)
    return as_object(values)


def _culprit(exception: JsonObject) -> str:
    """The function that raised it: the innermost application frame, else the innermost frame."""
    frames = as_object(exception.get("stacktrace")).get("frames")
    if not isinstance(frames, list):
        return ""
    known = [frame for frame in frames if isinstance(frame, dict)]
    frame = next((each for each in reversed(known) if each.get("in_app") is True), None)
    if frame is None:
        frame = known[-1] if known else {}
    file = one_line(frame.get("module")) or one_line(frame.get("filename"))
    function = one_line(frame.get("function"))
    return one_line(f"{file} in {function}" if file and function else file or function)


class _ItemTitle(NamedTuple):
    title: str
    level: str | None = None


def _title_of_items(items: tuple[Item, ...], first: JsonObject) -> _ItemTitle:
    describe_item = _ITEM_TITLES.get(items[0].type)
    found = None if describe_item is None else describe_item(first)
    if found is not None and found.title:
        return found._replace(title=one_line(found.title))
    return _ItemTitle(one_line(", ".join(dict.fromkeys(item.type for item in items[:20]))))


def _logs(payload: JsonObject) -> _ItemTitle:
    """The first of the most severe logs."""
    logs = as_objects(payload.get("items"))
    if not logs:
        return _ItemTitle("")
    log = max(logs, key=lambda each: _SEVERITY.get(_log_level(each) or "", -1))
    more = _more(len(logs), "log")
    text = one_line(_first_line(log.get("body")), LINE_CHARS - len(more)) or "(no message)"
    return _ItemTitle(text + more, _log_level(log))


def _log_level(log: JsonObject) -> str | None:
    level = log.get("level")
    level = "warning" if level == "warn" else level
    return level if isinstance(level, str) and level in _SEVERITY else None


def _metrics(payload: JsonObject) -> _ItemTitle:
    metrics = as_objects(payload.get("items"))
    if not metrics:
        return _ItemTitle("")
    name, kind, unit = (one_line(metrics[0].get(key), 100) for key in ("name", "type", "unit"))
    value = one_line(_number(metrics[0].get("value")))
    words = [f"{kind} {name}".strip() or "(no name)", f"= {value}" if value else "", unit]
    return _ItemTitle(" ".join(filter(None, words)) + _more(len(metrics), "metric"))


def _session(session: JsonObject) -> _ItemTitle:
    status = one_line(session.get("status"), _NAME_CHARS)
    errors = session.get("errors")
    count = f" with {_count(errors, 'error')}" if is_count(errors) and errors else ""
    return _ItemTitle(f"session {status}{count}{_of_release(session)}" if status else "")


def _sessions(payload: JsonObject) -> _ItemTitle:
    """The totals of all aggregates."""
    aggregates = as_objects(payload.get("aggregates"))
    parts = []
    for status in ("exited", "errored", "abnormal", "crashed"):
        total = sum(each[status] for each in aggregates if is_count(each.get(status)))
        if total:
            parts.append(f"{total} {status}")
    return _ItemTitle(f"sessions{_of_release(payload)}: {', '.join(parts)}" if parts else "")


def _of_release(session: JsonObject) -> str:
    release = one_line(as_object(session.get("attrs")).get("release"), _NAME_CHARS)
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
    for discarded in as_objects(report.get("discarded_events")):
        category, reason = (one_line(discarded.get(key), 100) for key in ("category", "reason"))
        quantity = one_line(_number(discarded.get("quantity"))) or "?"
        parts.append(f"{quantity} {category or 'unknown'} ({reason or 'no reason'})")
    return _ItemTitle(f"discarded by the SDK: {', '.join(parts)}" if parts else "")


def _profile(profile: JsonObject) -> _ItemTitle:
    names = [as_object(profile.get("transaction")).get("name"), profile.get("transaction_name")]
    names += [each.get("name") for each in as_objects(profile.get("transactions"))]
    name = next(filter(None, map(one_line, names)), "")
    return _ItemTitle(f"profile of {name}" if name else "")


def _profile_chunk(chunk: JsonObject) -> _ItemTitle:
    samples = as_object(chunk.get("profile")).get("samples")
    count = _count(len(samples), "sample") if isinstance(samples, list) else ""
    release = one_line(chunk.get("release"), _NAME_CHARS)
    of_release = f" of {release}" if release else ""
    return _ItemTitle(f"profile{of_release}: {count}" if count else "")


def _spans(payload: JsonObject) -> _ItemTitle:
    """The name of the first segment, else of the first span; older SDKs send one span an item."""
    spans = as_objects(payload.get("items")) if "items" in payload else [payload]
    names = [one_line(span.get("name")) or one_line(span.get("description")) for span in spans]
    roots = [
        name for span, name in zip(spans, names, strict=True) if span.get("is_segment") is True
    ]
    name = next(filter(None, [*roots, *names]), "")
    return _ItemTitle(f"{name}{_more(len(spans), 'span')}" if name else "")


_ITEM_TITLES: Final[Mapping[str, Callable[[JsonObject], _ItemTitle]]] = MappingProxyType(
    {
        "log": _logs,
        "trace_metric": _metrics,
        "span": _spans,
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


def _number(value: object) -> object:
    """Without the decimals of a whole number: SDKs send 3 as 3.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
