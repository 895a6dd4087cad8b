"""Each of Sentry's topics on real Kafka: the envelopes that arrive, field by field.

The messages are the schemas' examples, and bytes as Relay writes them (``store.rs``) where a shape
has no example. What is expected is written down from the ingestion documentation.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest

from consumer_fleet.capture.dsn import Dsn
from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.messages import examples
from tests.support.scripted_receiver import ReceivedRequest, ScriptedReceiver

ID = "0123456789abcdef0123456789abcdef"
NOW = int(time.time())


class Case(NamedTuple):
    """``items`` are the headers, without the length, and payloads that a message becomes."""

    consumer: str
    message: bytes
    event_id: str | None
    items: list[tuple[dict[str, Any], bytes]]
    # Of the schemas' examples.
    delivered: int
    filtered: dict[str, int]
    # Messages with the other parts of the envelope.
    parts: tuple[bytes, ...] = ()


def packed(**fields: Any) -> bytes:
    return bytes(msgpack.packb(fields))


def event(payload: bytes, *attachments: dict[str, Any]) -> bytes:
    return packed(
        type="event",
        payload=payload,
        start_time=NOW,
        event_id=ID,
        project_id=42,
        remote_addr="203.0.113.7",
        attachments=attachments,
    )


def chunk(index: int, payload: bytes) -> bytes:
    return packed(
        type="attachment_chunk",
        payload=payload,
        event_id=ID,
        project_id=42,
        id=DUMP["id"],
        chunk_index=index,
    )


ERROR = (
    b'{"event_id":"0123456789abcdef0123456789abcdef","level":"error","version":"7",'
    b'"type":"error","logentry":{"formatted":"out of paper"},"timestamp":2.25}'
)
LOG: dict[str, Any] = {
    "id": "0d5c3ba8-7f0e-4bd3-9a5c-56a1dd2b1f6a",
    "name": "log.txt",
    "rate_limited": False,
    "content_type": "text/plain",
    "attachment_type": "event.attachment",
    "size": 4,
    "data": b"a\n\x00\xff",
}
DUMP: dict[str, Any] = {
    "id": "7b0e2f5c-3d0a-4c55-8a52-3f1f4c1f9d11",
    "name": "crash.dmp",
    "rate_limited": False,
    "content_type": "application/x-dmp",
    "attachment_type": "event.minidump",
    "size": 7,
    "chunks": 2,
}
LOG_HEADER = {
    "type": "attachment",
    "filename": "log.txt",
    "content_type": "text/plain",
    "attachment_type": "event.attachment",
}
DUMP_HEADER = {
    "type": "attachment",
    "filename": "crash.dmp",
    "content_type": "application/x-dmp",
    "attachment_type": "event.minidump",
}
TRANSACTION = (
    b'{"event_id":"0123456789abcdef0123456789abcdef","level":"info","version":"7",'
    b'"type":"transaction","transaction":"/pay","start_timestamp":1.5,"timestamp":2.25,"spans":[]}'
)
FEEDBACK = (
    b'{"event_id":"0123456789abcdef0123456789abcdef","type":"feedback",'
    b'"contexts":{"feedback":{"message":"it broke"}}}'
)
RECORDING = b'{"segment_id":3}\n\x78\x9c\x00\xff'
REPLAY_EVENT = b'{"type":"replay_event","replay_id":"%b","segment_id":3}' % ID.encode()
REPLAY: dict[str, Any] = {
    "type": "replay_recording_not_chunked",
    "replay_id": ID,
    "key_id": 7,
    "org_id": 1,
    "project_id": 42,
    "received": NOW,
    "retention_days": 90,
    "payload": RECORDING,
    "replay_event": REPLAY_EVENT,
    "replay_video": None,
}
VIDEO = (
    b"\x83\xacreplay_event\xc4\x55%b\xb0replay_recording\xc4\x15%b\xacreplay_video\xc4\x02\n\x00"
)
CHECK_IN = b'{"check_in_id":"%b","monitor_slug":"nightly","status":"missed"}' % ID.encode()
CHUNK = b'{"version":"2","platform":"android","profiler_id":"%b","profile":{}}' % ID.encode()
ROW = {
    "event_id": ID,
    "project_id": 42,
    "platform": "python",
    "datetime": "2026-01-01T00:00:00Z",
    "message": "/pay",
    "data": {
        "event_id": ID,
        "type": "transaction",
        "transaction": "/pay",
        "timestamp": 2.25,
        "start_timestamp": 1.5,
        "project": 42,
        "key_id": "7",
        "received": 3.5,
        "title": "/pay",
        "tags": [["a", "b"], ["sentry:release", "1"]],
        "user": None,
    },
}
STORED = (
    b'{"event_id":"0123456789abcdef0123456789abcdef","type":"transaction","transaction":"/pay",'
    b'"timestamp":2.25,"start_timestamp":1.5,"tags":[["a","b"]],"platform":"python",'
    b'"logentry":{"formatted":"/pay"}}'
)

ERROR_ROW = {
    "event_id": ID,
    "project_id": 42,
    "platform": "python",
    "datetime": "2026-01-01T00:00:00Z",
    "message": "boom",
    "data": {
        "event_id": ID,
        "type": "error",
        "level": "error",
        "release": "1",
        "exception": {"values": [{"type": "ValueError", "value": "boom"}, None]},
        "hashes": ["a" * 32],
        "grouping_config": {"id": "newstyle:2023-01-11"},
        "metadata": {"type": "ValueError", "value": "boom"},
        "title": "ValueError: boom",
        "project": 42,
        "key_id": "7",
        "received": 3.5,
        "tags": [["sentry:release", "1"], ["a", "b"], None],
    },
}
STORED_ERROR = (
    b'{"event_id":"0123456789abcdef0123456789abcdef","type":"error","level":"error","release":"1",'
    b'"exception":{"values":[{"type":"ValueError","value":"boom"}]},"tags":[["a","b"]],'
    b'"timestamp":"2026-01-01T00:00:00Z","platform":"python"}'
)

CASES = [
    Case(
        "events",
        json.dumps([2, "insert", ERROR_ROW, {}]).encode(),
        ID,
        [({"type": "event"}, STORED_ERROR)],
        5,
        {
            # Five examples have the same ID, and two are sent.
            "circle": 3,
            "end_delete_groups": 1,
            "end_delete_tag": 1,
            "end_merge": 1,
            "end_unmerge": 2,
            "exclude_groups": 1,
            "replace_group": 1,
            "start_delete_groups": 1,
            "start_merge": 1,
            "tombstone_events": 3,
        },
    ),
    Case(
        "ingest-events",
        event(ERROR, LOG),
        ID,
        [({"type": "event"}, ERROR), (LOG_HEADER, b"a\n\x00\xff")],
        1,
        {},
    ),
    Case(
        "ingest-attachments",
        event(ERROR, DUMP, LOG),
        ID,
        [({"type": "event"}, ERROR), (DUMP_HEADER, b"MDMP\x93\xa7\n"), (LOG_HEADER, LOG["data"])],
        2,
        {},
        (chunk(1, b"\x93\xa7\n"), chunk(0, b"MDMP")),
    ),
    Case(
        "transactions",
        json.dumps([2, "insert", ROW, {}]).encode(),
        ID,
        [({"type": "transaction"}, STORED)],
        2,
        {},
    ),
    Case(
        "ingest-transactions",
        event(TRANSACTION),
        ID,
        [({"type": "transaction"}, TRANSACTION)],
        1,
        {},
    ),
    Case("ingest-feedback-events", event(FEEDBACK), ID, [({"type": "feedback"}, FEEDBACK)], 2, {}),
    Case(
        "ingest-replay-recordings",
        packed(**REPLAY),
        ID,
        [({"type": "replay_event"}, REPLAY_EVENT), ({"type": "replay_recording"}, RECORDING)],
        1,
        {},
    ),
    Case(
        "ingest-replay-recordings",
        packed(**REPLAY | {"replay_video": b"\n\x00"}),
        ID,
        [({"type": "replay_video"}, VIDEO % (REPLAY_EVENT, RECORDING))],
        1,
        {},
    ),
    Case(
        "ingest-monitors",
        packed(
            type="check_in",
            message_type="check_in",
            payload=CHECK_IN,
            start_time=NOW,
            sdk=None,
            project_id=42,
            retention_days=90,
        ),
        None,
        [({"type": "check_in"}, CHECK_IN)],
        1,
        {"clock_pulse": 2},
    ),
    Case(
        "profiles",
        packed(
            type="profile_chunk",
            organization_id=1,
            project_id=42,
            received=NOW,
            retention_days=90,
            payload=CHUNK,
        ),
        None,
        [({"type": "profile_chunk", "platform": "android"}, CHUNK)],
        0,
        {"needs_transaction": 2},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.consumer}-{len(case.items)}")
def test_a_topics_messages_arrive_as_the_envelopes_that_an_sdk_would_send(
    case: Case, kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    name = topic(1)
    kafka.produce(name, [*case.parts, case.message, *examples(case.consumer).values()])
    arguments = ("--topic", case.consumer, "--physical-topic", name, "--stop-at-end")
    with ConsumerProcess(
        tmp_path,
        *(*arguments, "--group", f"group-{uuid.uuid4().hex[:8]}", "--workers", "1"),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--upstream-dsn", upstream.dsn()),
        *("--validate-schema", "warn"),
    ) as consumer:
        assert consumer.wait() == 0
        (summary,) = consumer.events("summary")
    assert summary["delivered"] == case.delivered + 1 + len(case.parts)
    assert summary["filtered"] == case.filtered
    assert summary["dead_lettered"] == {}
    (arrived,) = [each for each in upstream.requests if is_of(case, each)]
    header = json.loads(arrived.body.split(b"\n", 1)[0])
    assert header.pop("dsn") == upstream.dsn()
    assert header.pop("sent_at")
    assert header.pop(json.loads(Dsn.parse(upstream.dsn()).mark)) is True
    assert header == ({} if case.event_id is None else {"event_id": case.event_id})
    items = arrived.envelope.items
    assert [json.loads(item.header) for item in items] == [
        members | {"length": len(payload)} for members, payload in case.items
    ]
    assert [item.payload for item in items] == [payload for _, payload in case.items]


def is_of(case: Case, request: ReceivedRequest) -> bool:
    return ID.encode() in request.body
