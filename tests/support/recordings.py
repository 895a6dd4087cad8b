"""Generated recordings and messages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from consumer_fleet.kafka.chunk import Record
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter

Pair = tuple[int, Record]
HEADER = RecordingHeader("source", 4, 1_700_000_000_000, {0: (0, 10), 3: (5, 5)})


def random_pairs(seed: int, count: int, *, partitions: int = 4, size: int = 200) -> list[Pair]:
    """Generate messages of all kinds: None or empty keys and values, repeated headers."""
    chance = random.Random(seed)
    offsets = [chance.randrange(1000) for _ in range(partitions)]
    return [_random_pair(chance, offsets, size) for _ in range(count)]


def write_recording(
    path: Path,
    pairs: Sequence[Pair],
    header: RecordingHeader = HEADER,
    *,
    batch: int = 100,
    complete: bool = True,
) -> Path:
    """Write a recording with one block per ``batch`` messages (large messages take more)."""
    with RecordingWriter(path, header) as writer:
        for start in range(0, len(pairs), batch):
            writer.write(pairs[start : start + batch])
            writer.flush()
        if complete:
            writer.complete()
    return path if complete else writer.partial


def _random_pair(chance: random.Random, offsets: list[int], size: int) -> Pair:
    partition = chance.randrange(len(offsets))
    offsets[partition] += chance.choice((1, 1, 1, 7))

    def some_bytes(limit: int) -> bytes | None:
        return chance.choice((None, b"", chance.randbytes(chance.randrange(limit + 1))))

    headers = tuple(
        (chance.choice(("a", "b", "", "\u00e4", "dlq.reason")), some_bytes(20))
        for _ in range(chance.choice((0, 0, 1, 5)))
    )
    timestamp_ms = chance.choice((None, 0, chance.randrange(2**41)))
    return partition, Record(
        offsets[partition], timestamp_ms, some_bytes(30), some_bytes(size), headers
    )
