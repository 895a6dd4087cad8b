"""Raw messages for codecs: the real examples of Sentry's topics, and arbitrary bytes."""

from __future__ import annotations

import importlib.resources
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgpack
import orjson

from consumer_fleet.capture.envelope import Envelope, build, make_item, parse, serialize
from consumer_fleet.codec import Decode, Fragment, Incomplete, RawMessage
from consumer_fleet.errors import RejectedMessage

TIMESTAMP_MS = 1_700_000_000_000


def message(value: bytes | None, *, topic: str = "topic", offset: int = 7) -> RawMessage:
    """Build a message of partition 3."""
    return RawMessage(
        topic=topic, partition=3, offset=offset, timestamp_ms=TIMESTAMP_MS, value=value
    )


def examples(topic: str) -> dict[str, bytes]:
    """Return the topic's example messages in sentry-kafka-schemas, by file name."""
    folder = importlib.resources.files("sentry_kafka_schemas") / "examples" / topic / "1"
    found = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert found, f"sentry-kafka-schemas has no examples of {topic}"
    return dict(sorted(found.items()))


def outcomes(decode: Decode, values: Iterable[bytes]) -> Counter[str]:
    """Decode all values and count the reasons. An envelope ("delivered") must survive sending.

    Anything that a codec raises besides RejectedMessage comes out of here.
    """
    counts: Counter[str] = Counter()
    for value in values:
        try:
            result = decode(now(message(value)))
        except RejectedMessage as error:
            counts[error.reason] += 1
            continue
        if isinstance(result, Incomplete):
            counts["incomplete"] += 1
            result = result.completed({})
        if isinstance(result, Envelope):
            sent = serialize(result, dsn="http://k@h/1", sent_at="2026-01-01T00:00:00Z")
            assert parse(sent).items == result.items
            counts["delivered"] += 1
        elif isinstance(result, Fragment):
            counts["fragment"] += 1
        else:
            counts[f"skipped {result.reason}"] += 1
    return counts


def now(raw: RawMessage) -> RawMessage:
    """The same message as if the broker had just got it: old check-ins are skipped."""
    return raw._replace(timestamp_ms=int(time.time() * 1000))


def containing(consumer: str, document: dict[str, Any]) -> bytes:
    """A message of the consumer whose JSON payload is the document."""
    payload = orjson.dumps(document)
    fields: dict[str, Any] = {"project_id": 1, "payload": payload}
    event_id = document.get("event_id") or "e" * 32
    match consumer:
        case "events" | "transactions":
            return orjson.dumps([2, "insert", {"event_id": event_id, "data": document}, None])
        case (
            "ingest-events"
            | "ingest-transactions"
            | "ingest-feedback-events"
            | "ingest-attachments"
        ):
            fields |= {"type": "event", "event_id": event_id, "attachments": []}
        case "ingest-replay-recordings":
            recording = b'{"segment_id":0}\n[]'
            fields = {"payload": recording, "replay_event": payload, "replay_id": event_id}
            fields |= {"type": "replay_recording_not_chunked", "replay_video": None}
        case "ingest-monitors":
            fields |= {"type": "check_in", "message_type": "check_in", "retention_days": 90}
        case "profiles":
            fields |= {"type": "profile_chunk", "organization_id": 1}
        case "envelopes":
            item = make_item("event", payload)
            return serialize(build(event_id, (item,)), dsn="http://k@h/1", sent_at="x")
        case _:
            raise AssertionError(f"no message of {consumer} is known here")
    return bytes(msgpack.packb(fields))
