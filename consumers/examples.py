"""Real example messages of Sentry's topics, made fresh: new event ids, and times near now.

They come from sentry-kafka-schemas, which has no raw envelopes: those are built from the events in
its examples of ``ingest-events``.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgpack
import orjson
from sentry_kafka_schemas import iter_examples

from consumer_fleet.capture.envelope import build, make_item, serialize

# Of the examples, the large ones and those that carry no event come once in so many messages.
# Otherwise a demonstration would be mostly one 60 KiB event, and mostly filtered.
_RARE_EVERY = 25
_LARGE_BYTES = 8 * 1024
# What Relay adds to an event, and an SDK does not send.
_ADDED_BY_RELAY = ("_metrics", "grouping_config", "key_id", "project", "received")
# Where an SDK would have sent it: a made-up place, since nothing may ever be routed by it.
_SDK_DSN = "https://example@o0.ingest.example.invalid/1"


def example_messages(logical_topic: str) -> Iterator[bytes]:
    """Endless messages of that topic. Raises KeyError for a topic without examples."""
    make = _MAKERS[logical_topic]
    templates = _templates("events" if logical_topic == "events" else "ingest-events")
    common = [template for template in templates if not _is_rare(template)]
    rare = [template for template in templates if _is_rare(template)]
    return (make(template) for template in _mixed(common, rare))


def _templates(topic: str) -> list[Any]:
    # By path: the package lists directories in whatever order the file system has.
    examples = sorted(iter_examples(topic), key=lambda example: str(example.path))
    return [example.load() for example in examples]


def _is_rare(template: Any) -> bool:
    if isinstance(template, list):
        return template[1] != "insert" or len(orjson.dumps(template)) > _LARGE_BYTES
    return False


def _mixed(common: list[Any], rare: list[Any]) -> Iterator[Any]:
    commons, rares = itertools.cycle(common), itertools.cycle(rare)
    for number in itertools.count(1):
        yield next(rares) if rare and number % _RARE_EVERY == 0 else next(commons)


def _stream_message(template: list[Any]) -> bytes:
    """A message of ``events``: ``[version, operation, row, …]``."""
    if template[1] == "insert":
        row = template[2]
        now = time.time()
        row["event_id"] = row["data"]["event_id"] = uuid.uuid4().hex
        row["datetime"] = _iso(now)
        row["data"] |= {"timestamp": now, "received": now, "nodestore_insert": now}
        if "datetime" in row["data"]:
            row["data"]["datetime"] = _iso(now)
    return orjson.dumps(template)


def _ingest_message(template: dict[str, Any]) -> bytes:
    event = _fresh_event(template)
    fields = {
        **template,
        "payload": orjson.dumps(event),
        "event_id": event["event_id"],
        "start_time": int(event["timestamp"]),
    }
    return bytes(msgpack.packb(fields))


def _raw_envelope(template: dict[str, Any]) -> bytes:
    event = _fresh_event(template)
    for name in _ADDED_BY_RELAY:
        event.pop(name, None)
    item = make_item("event", orjson.dumps(event), content_type="application/json")
    envelope = build(event["event_id"], (item,))
    return serialize(envelope, dsn=_SDK_DSN, sent_at=_iso(event["timestamp"]))


def _fresh_event(template: dict[str, Any]) -> dict[str, Any]:
    now = time.time()
    event: dict[str, Any] = orjson.loads(template["payload"])
    return {**event, "event_id": uuid.uuid4().hex, "timestamp": now, "received": now}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_MAKERS: dict[str, Callable[[Any], bytes]] = {
    "events": _stream_message,
    "ingest-events": _ingest_message,
    "envelopes": _raw_envelope,
}
