"""Raw messages for codecs: the real examples of Sentry's topics, and arbitrary bytes."""

from __future__ import annotations

import importlib.resources
from collections import Counter
from collections.abc import Iterable

from consumer_fleet.capture.envelope import Envelope, parse, serialize
from consumer_fleet.codec import Decode, RawMessage
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
            result = decode(message(value))
        except RejectedMessage as error:
            counts[error.reason] += 1
            continue
        if isinstance(result, Envelope):
            sent = serialize(result, dsn="http://k@h/1", sent_at="2026-01-01T00:00:00Z")
            assert parse(sent).items == result.items
            counts["delivered"] += 1
        else:
            counts[f"skipped {result.reason}"] += 1
    return counts
