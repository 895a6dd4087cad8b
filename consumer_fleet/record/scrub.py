"""Removes personal data and secrets from messages. docs/recordings.md lists the rules.

It is our own because the known scrubbers do something else: the SDK's replaces the values of a
short list of names, Relay's library strips events but neither other items nor a message's key and
headers, and detectors for prose guess names with language models. Here the same message must always
become the same message, still valid for its consumer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from consumer_fleet.consumers import registry
from consumer_fleet.consumers.format import UnreadableMessage
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.record.scrub_text import (
    FILTERED,
    is_sensitive_name,
    pseudonym,
    scrub_header,
    scrub_key,
    scrub_name,
    scrub_number,
    scrub_text,
)

# Members of a request that stay, beside its URL.
_REQUEST_MEMBERS: Final = frozenset(
    {"api_target", "body_size", "inferred_content_type", "method", "status_code"}
)
_REQUEST_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "connection",
     "content-encoding", "content-length", "content-type", "host", "user-agent"}
)  # fmt: skip
# Members that identify and group events. They stay if they have their usual form: a debug id or a
# version may look like an address.
_IDS: Final = (
    "chunk_id", "code_id", "debug_id", "event_id", "group_id", "image_addr", "image_size",
    "instruction_addr", "parent_span_id", "primary_hash", "profile_id", "profiler_id",
    "project_id", "replay_id", "segment_id", "span_id", "symbol_addr", "trace_id",
)  # fmt: skip
_VERSIONS: Final = ("dist", "release", "version")
_TIMES: Final = ("datetime", "received", "start_timestamp", "timestamp")
_STRUCTURAL: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        **dict.fromkeys(_IDS, re.compile(r"[0-9a-zA-Z-]{1,64}")),
        **dict.fromkeys(_VERSIONS, re.compile(r"(?:[^\s@]{1,200}@)?v?\d[\w.+-]{0,100}")),
        **dict.fromkeys(_TIMES, re.compile(r"[\dT:.,Z+ -]{1,40}")),
    }
)
# The members for an attachment's name, in an item's header and in Relay's map.
_FILE_NAMES: Final = ("filename", "name")
_SUFFIX: Final = re.compile(r"\.\w{1,10}\Z", re.ASCII)
# Payloads in which ``name`` is the name of a person.
_OF_A_PERSON: Final = ("user_report", "feedback")
# Text that a person wrote.
_FREE_TEXT: Final = frozenset({"comments", "contact_email"})


class Scrubber:
    """Scrubs messages of one consumer's format; the same message always gives the same result.

    A value that can't be parsed never passes: it is replaced as a whole and counted in
    ``replaced_whole``.
    """

    def __init__(self, consumer: str) -> None:
        self._format = registry.get(consumer).format
        self._visitor = _ScrubVisitor(self._count)
        self.replaced_whole = 0

    def __call__(self, record: Record) -> Record:
        return record._replace(
            key=scrub_key(record.key),
            value=self._scrub_value(record.value),
            headers=tuple((scrub_name(name), scrub_header(name, value))
                          for name, value in record.headers),
        )  # fmt: skip

    def _scrub_value(self, value: bytes | None) -> bytes | None:
        if not value:
            return value
        try:
            return self._format.visit(value, self._visitor)
        except UnreadableMessage:
            self._count()
            return FILTERED.encode()

    def _count(self) -> None:
        self.replaced_whole += 1


class _ScrubVisitor:
    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def frame(self, members: dict[str, Any]) -> dict[str, Any]:
        frame = _object(members)
        for name in _FILE_NAMES:
            if isinstance(frame.get(name), str):
                frame[name] = "attachment" + "".join(_SUFFIX.findall(frame[name])[:1])
        return frame

    def document(self, kind: str, document: Any) -> Any:
        return _named_person(document) if kind in _OF_A_PERSON else _any(document)

    def blob(self, kind: str, content: bytes) -> bytes:
        """Replace content that is not JSON as a whole, since it can't be looked into."""
        if kind == "replay_recording":
            return _empty_replay(content)
        if kind == "statsd":
            return b"\n".join(scrub_text(line).encode() for line in content.decode().split("\n"))
        if kind != "attachment":
            self._count()
        return FILTERED.encode()


def _empty_replay(content: bytes) -> bytes:
    """Keep the segment's number, and no recording."""
    try:
        header = orjson.loads(content.partition(b"\n")[0])
        segment = header["segment_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        segment = 0
    return orjson.dumps({"segment_id": segment if isinstance(segment, int) else 0}) + b"\n[]"


# -- JSON -----------------------------------------------------------------------------------------


def _any(value: Any) -> Any:
    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, bytes):
        return FILTERED.encode()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return scrub_number(value)
    return value


def _object(members: dict[str, Any]) -> dict[str, Any]:
    scrubbed: dict[str, Any] = {}
    again: dict[str, int] = {}
    for name, value in members.items():
        shown = scrubbed_name = scrub_name(name)
        while shown in scrubbed:
            again[scrubbed_name] = again.get(scrubbed_name, 0) + 1
            shown = f"{scrubbed_name}_{again[scrubbed_name]}"
        scrubbed[shown] = _member(name, value)
    # {"name": "password", "value": "…"}
    named = members.get("name", members.get("key"))
    if isinstance(named, str) and isinstance(members.get("value"), str):
        scrubbed["value"] = _member(named, members["value"])
    return scrubbed


def _member(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    usual = _STRUCTURAL.get(name)
    if usual is not None and isinstance(value, str) and usual.fullmatch(value):
        return value
    special = _MEMBERS.get(name)
    if special is not None:
        return special(value)
    if name in _FREE_TEXT or is_sensitive_name(name):
        return _filtered(value)
    return _any(value)


def _filtered(value: Any) -> Any:
    """Replace a value. An attribute stays an attribute, so that its item stays valid."""
    if isinstance(value, dict) and "value" in value and "type" in value:
        return {"value": FILTERED, "type": "string"}
    return FILTERED


def _list(values: list[Any]) -> list[Any]:
    """Treat pairs of a name and a value (tags, headers, a query) as members, and also an option of
    a command line and the argument after it.
    """
    scrubbed: list[Any] = []
    takes_secret = False
    for each in values:
        is_option = isinstance(each, str) and each.startswith("-")
        if isinstance(each, list) and len(each) == 2 and isinstance(each[0], str):
            scrubbed.append([scrub_name(each[0]), _member(*each)])
        else:
            scrubbed.append(FILTERED if takes_secret and not is_option else _any(each))
        takes_secret = is_option and "=" not in each and is_sensitive_name(each)
    return scrubbed


def _user(user: Any) -> Any:
    """Reduce a user to a pseudonym that is the same everywhere."""
    if not isinstance(user, dict):
        return _filtered_or_none(user)
    for name in ("id", "username", "email", "ip_address"):
        if user.get(name) not in (None, ""):
            return {"id": pseudonym(str(user[name]), "user")}
    return {}


def _pseudonymous(value: Any) -> Any:
    return pseudonym(str(value), "user") if value not in (None, "") else value


def _request(request: Any) -> Any:
    if not isinstance(request, dict):
        return _filtered_or_none(request)
    kept: dict[str, Any] = {}
    for name, value in request.items():
        if name == "url" and isinstance(value, str):
            kept[name] = scrub_text(value.partition("?")[0].partition("#")[0])
        elif name == "headers":
            kept[name] = _headers(value)
        elif name in _REQUEST_MEMBERS:
            kept[name] = _any(value)
        elif value is not None:
            kept[name] = {} if isinstance(value, dict) else FILTERED
    return kept


def _headers(headers: Any) -> Any:
    if isinstance(headers, dict):
        return {name: _header(name, value) for name, value in headers.items()}
    if isinstance(headers, list):
        return [
            [each[0], _header(each[0], each[1])]
            for each in headers
            if isinstance(each, list) and len(each) == 2
        ]
    return _filtered_or_none(headers)


def _header(name: object, value: Any) -> Any:
    if isinstance(name, str) and name.lower() in _REQUEST_HEADERS:
        return _any(value)
    return _filtered_or_none(value)


def _without(*names: str) -> Callable[[Any], Any]:
    """Scrub an object, and filter these members of it."""

    def scrub(value: Any) -> Any:
        scrubbed = _any(value)
        if isinstance(scrubbed, dict):
            scrubbed |= {name: FILTERED for name in names if scrubbed.get(name) is not None}
        return scrubbed

    return scrub


# Owners name devices after themselves. The name in a feedback or a user report is a person's.
_device: Final = _without("name", "device_unique_identifier", "unique_identifier", "id")
_named_person: Final = _without("name")


def _filtered_or_none(value: Any) -> Any:
    return None if value is None else FILTERED


_MEMBERS: Final[Mapping[str, Callable[[Any], Any]]] = MappingProxyType(
    {
        "user": _user,
        "sentry:user": _pseudonymous,
        "user_id": _pseudonymous,
        "user.id": _pseudonymous,
        "did": _pseudonymous,
        "request": _request,
        "response": _request,
        "headers": _headers,
        "cookies": lambda _: None,
        "query_string": _filtered_or_none,
        "env": lambda _: None,
        "device": _device,
        "feedback": _named_person,
        "geo": lambda _: None,
        # Relay's notes about removed data, with the original values.
        "_meta": lambda _: None,
    }
)
