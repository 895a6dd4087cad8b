"""Schemas: a share of the messages is compared, and none is rejected for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgpack
import pytest
import structlog

from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers.registry import CONSUMERS, get
from consumer_fleet.worker import schema_check
from consumer_fleet.worker.schema_check import SchemaCheck
from tests.support.messages import examples, message

WITH_SCHEMA = [each.name for each in CONSUMERS if each.format.schema is not None]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counts: Counter[str] = Counter()
    monkeypatch.setattr(
        schema_check, "incr", lambda name, tags: counts.update([f"{name} {tags['result']}"])
    )
    return counts


def skip_all(raw: RawMessage) -> Skipped:
    return Skipped(f"offset {raw.offset}")


@pytest.mark.parametrize("consumer", WITH_SCHEMA)
def test_the_schemas_examples_are_valid(consumer: str, counted: Counter[str]) -> None:
    schema = get(consumer).format.schema
    assert schema is not None
    for value in examples(schema).values():
        SchemaCheck(skip_all, schema)(message(value))
    assert counted == {"schema.checked valid": len(examples(schema))}


def test_the_first_of_every_hundred_messages_is_checked(counted: Counter[str]) -> None:
    (value,) = examples("ingest-events").values()
    check = SchemaCheck(skip_all, "ingest-events")
    for offset in range(301):
        assert check(message(value, offset=offset)) == Skipped(f"offset {offset}")
    assert counted == {"schema.checked valid": 4}


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x80", b"{}", b"\x91" * 5000, None])
def test_no_violation_rejects_a_message(value: bytes | None, counted: Counter[str]) -> None:
    for topic in ("ingest-events", "events"):
        assert SchemaCheck(skip_all, topic)(message(value)) == Skipped("offset 7")
    assert counted.total() == (2 if value else 0)
    assert counted["schema.checked valid"] == 0


def test_violations_are_logged_once_a_minute_without_the_value(
    counted: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_check, "_CHECK_EVERY", 1)
    time = [1000.0]
    monkeypatch.setattr(schema_check, "monotonic", lambda: time[0])
    (value,) = examples("ingest-events").values()
    fields: dict[str, Any] = msgpack.unpackb(value)
    bad = bytes(msgpack.packb(fields | {"project_id": "s3cr3t"}))
    check = SchemaCheck(skip_all, "ingest-events")
    with structlog.testing.capture_logs() as logs:
        for seconds in (0, 10, 59, 61):
            time[0] = 1000.0 + seconds
            check(message(bad))
    assert [entry["violations"] for entry in logs] == [1, 4]
    assert logs[0]["event"] == "schema_violated"
    assert "project_id" in logs[0]["violation"]
    assert "s3cr3t" not in str(logs)
    assert counted == {"schema.checked invalid": 4}


def test_a_topic_without_a_schema_is_not_checked(counted: Counter[str]) -> None:
    with structlog.testing.capture_logs() as logs:
        check = SchemaCheck(skip_all, "no-such-topic")
    assert [entry["event"] for entry in logs] == ["schema_unknown"]
    check(message(b"\x80"))
    assert not counted
