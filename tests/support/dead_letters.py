"""Dead letters made for tests."""

from __future__ import annotations

from consumer_fleet.dead_letter_headers import Facts, restore, with_facts
from consumer_fleet.dlq.letters import Letter
from consumer_fleet.kafka.chunk import Record


def letter(
    offset: int, reason: str | None = "invalid_json", topic: str = "events", *, partition: int = 0
) -> Letter:
    facts = Facts(reason or "", "what\nis wrong" * 20, topic, partition, 10 * offset, None, "g")
    headers = () if reason is None else tuple(with_facts((), facts))
    record = Record(offset, 1_700_000_000_000 + 1000 * offset, None, b"value", headers)
    return Letter(partition, record, restore(headers))


LETTERS = [
    letter(1),
    letter(2, "http_400", "events", partition=1),
    letter(3, "http_400", "ingest-events", partition=1),
    letter(4, None),
]
