"""Raw messages for codecs: the real examples of Sentry's topics, and any bytes."""

from __future__ import annotations

import importlib.resources

from fleet.codec import RawMessage

TIMESTAMP_MS = 1_700_000_000_000


def message(value: bytes | None, *, topic: str = "topic", offset: int = 7) -> RawMessage:
    """A message of partition 3."""
    return RawMessage(
        topic=topic, partition=3, offset=offset, timestamp_ms=TIMESTAMP_MS, value=value
    )


def examples(topic: str) -> dict[str, bytes]:
    """The topic's example messages in sentry-kafka-schemas, by file name."""
    folder = importlib.resources.files("sentry_kafka_schemas") / "examples" / topic / "1"
    found = {each.name: each.read_bytes() for each in folder.iterdir()}
    assert found, f"sentry-kafka-schemas has no examples of {topic}"
    return dict(sorted(found.items()))
