"""The ``events`` topic: Sentry's JSON event stream, the one that Snuba stores.

A message is ``[version, operation, row, state]``. An ``insert`` carries an event that Sentry has
processed and stored: it becomes an envelope with one item again. All other operations change
groups of events that are stored already, so they carry nothing to deliver.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

import msgspec
import orjson

from consumer_fleet.capture.envelope import Envelope, build, make_item, normalize_event_id
from consumer_fleet.capture.items import item_type_of
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.finders import ProjectMember, as_project_id
from consumer_fleet.consumers.format import (
    JsonFormat,
    JsonObject,
    Visitor,
    brief,
    dump_json,
    event_id_of,
    fresh_event,
    iso_time,
    load_json,
    value_of,
)
from consumer_fleet.errors import RejectedMessage

# Versions 0 and 1 differ from 2 in their other operations only; an insert reads the same.
_VERSIONS: Final = (0, 1, 2)

# Replacements: instructions to a store about the events that it holds.
_REPLACEMENTS: Final = frozenset(
    {
        "start_delete_groups",
        "end_delete_groups",
        "start_delete_tag",
        "end_delete_tag",
        "start_merge",
        "end_merge",
        "start_unmerge",
        "end_unmerge",
        "start_unmerge_hierarchical",
        "end_unmerge_hierarchical",
        "tombstone_events",
        "replace_group",
        "exclude_groups",
        # In versions 0 and 1, and in version 2 for a short time.
        "delete",
        "delete_groups",
        "merge",
        "unmerge",
    }
)

# Members of a stored event that no SDK sends, and why they are left out.
_SERVER_ASSIGNED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "_fingerprint_info": "which of the project's fingerprint rules matched",
        "_metrics": "bytes that were counted at ingestion",
        "_ref": "a reference into the store",
        "_ref_version": "a reference into the store",
        "datetime": "the timestamp once more",
        "errors": "errors of ingestion; the upstream notes its own",
        "grouping_config": "the project's grouping; the upstream has its own",
        "hashes": "the result of grouping",
        "hierarchical_hashes": "the result of grouping",
        "ingest_path": "the Relays that it passed",
        "key_id": "the key that it was sent with; the destination's DSN has another",
        "location": "derived from the stack trace, for display",
        "metadata": "derived from the payload, for display",
        "nodestore_insert": "when it was stored",
        "occurrence_id": "which issue occurrence it made",
        "processed_by_symbolicator": "a note of the processing pipeline",
        "project": "the project that it was sent to; the destination's DSN has another",
        "received": "when it was received; the upstream notes its own",
        "span_grouping_config": "the project's grouping; the upstream has its own",
        "symbolicated_in_app": "a note of the processing pipeline",
        "title": "derived from the payload, for display",
    }
)
# Tags that Sentry writes for itself; upstreams refuse them from outside.
_SERVER_TAG_PREFIX: Final = "sentry:"

# Interfaces that hold {"values": [...]}; a null in place of the list, or in it, means "none".
_CHAINS: Final = ("exception", "threads", "breadcrumbs")

# An event with one of these has its own text; another event gets the row's message.
_SPEAKING: Final = ("logentry", "message", "exception", "csp", "hpkp", "expectct", "expectstaple")


_decode_parts: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_row: Final = msgspec.json.Decoder(ProjectMember).decode


class StoredEvents(JsonFormat):
    """``[version, operation, row, state]``."""

    examples = schema = "events"

    def decode(self, message: RawMessage) -> Envelope | Skipped:
        """An insert as an envelope with one item; Skipped, named after it, for a replacement."""
        operation, row = _frame(load_json(value_of(message), "the message"))
        if operation in _REPLACEMENTS:
            return Skipped(operation)
        if operation != "insert":
            raise RejectedMessage("unknown_operation", f"the operation is {brief(operation)}")
        if not isinstance(row, dict):
            raise RejectedMessage("invalid_event", "the insert's third element is not an object")
        data = row.get("data")
        if not isinstance(data, dict) or not data:
            raise RejectedMessage("invalid_event", "the insert's row has no data")
        event_id = normalize_event_id(row.get("event_id")) or event_id_of(data, message)
        event = _event(data, row, message)
        event["event_id"] = event_id
        payload = dump_json(event, "the event")
        return build(event_id, (make_item(item_type_of(event.get("type")), payload),))

    def project_of(self, message: RawMessage) -> int | None:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, IndexError):
            row = _decode_row(_decode_parts(message.value or b"")[2])
            if (found := as_project_id(row.project_id)) is not None:
                return found
        return super().project_of(message)

    def rebuild(self, value: bytes, visitor: Visitor) -> bytes:
        message = orjson.loads(value)
        if not isinstance(message, list):
            raise TypeError("not an array")
        for index, part in enumerate(message):
            if not isinstance(part, dict):
                message[index] = visitor.document("state", part)
                continue
            data = part.pop("data", None)
            message[index] = visitor.frame(part)
            if data is not None:
                message[index]["data"] = visitor.document("event", data)
        return orjson.dumps(message)

    def with_event_id(self, value: bytes, event_id: str) -> bytes:
        message = orjson.loads(value)
        for part in message:
            if isinstance(part, dict) and isinstance(part.get("data"), dict):
                part["event_id"] = part["data"]["event_id"] = event_id
        return orjson.dumps(message)

    def fresh_example(self, example: Any) -> bytes:
        if example[1] == "insert":
            row = example[2]
            data = row["data"] = fresh_event(row["data"])
            row |= {"event_id": data["event_id"], "datetime": iso_time(data["timestamp"])}
            data["nodestore_insert"] = data["timestamp"]
            if "datetime" in data:
                data["datetime"] = row["datetime"]
        return orjson.dumps(example)


def _frame(parsed: object) -> tuple[str, object]:
    """The operation and its row, once version and shape are known to be right."""
    if not isinstance(parsed, list) or len(parsed) < 3:
        raise RejectedMessage("invalid_message", "not an array of version, operation and row")
    version, operation, row = parsed[:3]
    if type(version) is not int or version not in _VERSIONS:
        raise RejectedMessage("unsupported_version", f"the version is {brief(version)}")
    if not isinstance(operation, str):
        raise RejectedMessage("unknown_operation", f"the operation is {brief(operation)}")
    return operation, row


def _event(data: JsonObject, row: JsonObject, message: RawMessage) -> JsonObject:
    """Restore the event that an SDK may have sent from the one that Sentry stored."""
    event = {
        name: value
        for name, value in data.items()
        if value is not None and name not in _SERVER_ASSIGNED
    }
    for name in _CHAINS:
        if name in event and not _tidy_chain(event[name]):
            del event[name]
    if "tags" in event:
        event["tags"] = _tidy_tags(event["tags"])
    if event.get("message") == "":
        del event["message"]
    if "timestamp" not in event:
        _add_timestamp(event, data, row, message)
    if "platform" not in event and isinstance(row.get("platform"), str):
        event["platform"] = row["platform"]
    text = row.get("message")
    if isinstance(text, str) and text and not any(name in event for name in _SPEAKING):
        event["logentry"] = {"formatted": text}
    return event


def _add_timestamp(
    event: JsonObject, data: JsonObject, row: JsonObject, message: RawMessage
) -> None:
    for candidate in (row.get("datetime"), data.get("datetime")):
        if isinstance(candidate, str) and candidate:
            event["timestamp"] = candidate
            return
    if message.timestamp_ms is not None:
        event["timestamp"] = message.timestamp_ms / 1000


def _tidy_chain(chain: object) -> bool:
    """Drop nulls from an interface's values and their stack traces; False if nothing is left."""
    values = chain.get("values") if isinstance(chain, dict) else chain
    if isinstance(values, list):
        _drop_nulls(values)
        for value in values:
            if isinstance(value, dict):
                _tidy_stacktrace(value)
        return bool(values)
    # A single exception needs no list around it.
    return isinstance(chain, dict) and "values" not in chain and bool(chain)


def _tidy_stacktrace(value: JsonObject) -> None:
    for name in ("stacktrace", "raw_stacktrace"):
        stacktrace = value.get(name)
        if stacktrace is None:
            value.pop(name, None)
        elif isinstance(stacktrace, dict):
            frames = stacktrace.get("frames")
            if frames is None:
                stacktrace.pop("frames", None)
            elif isinstance(frames, list):
                _drop_nulls(frames)


def _drop_nulls(values: list[Any]) -> None:
    if None in values:
        values[:] = [value for value in values if value is not None]


def _tidy_tags(tags: object) -> object:
    """Tags are pairs or an object. Null ones say nothing; an upstream may refuse them."""
    if isinstance(tags, dict):
        return {key: value for key, value in tags.items() if _is_own_tag(key, value)}
    if isinstance(tags, list):
        return [
            tag
            for tag in tags
            if tag is not None
            and not (isinstance(tag, list) and len(tag) == 2 and not _is_own_tag(*tag))
        ]
    return tags


def _is_own_tag(key: object, value: object) -> bool:
    if key is None or value is None:
        return False
    return not (isinstance(key, str) and key.startswith(_SERVER_TAG_PREFIX))
