"""What became of a message is judged once its dead letter, if there is one, was read."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Any, Self

import pytest
from confluent_kafka import Message

from consumer_fleet.bootstrap.options import ClusterOptions, Options
from consumer_fleet.consumers import registry
from consumer_fleet.dead_letter_headers import Facts, with_facts
from consumer_fleet.kafka.offset_spec import EARLIEST
from consumer_fleet.kafka.open_offsets import NOTHING_HELD, CommitMetadata
from consumer_fleet.kafka.reader import PartitionId, Range
from consumer_fleet.tail import follow
from consumer_fleet.tail.follow import Follower, Stream

_HEADERS = with_facts((), Facts("http_400", "no", "t", 0, 0, None, "g"))
_STORED = {
    "t": [Message("t", 0, 0, None, b"{}\n"), Message("t", 0, 1, None, b"{}\n")],
    "t-dlq": [Message("t-dlq", 0, 0, None, b"", headers=list(_HEADERS))],
}
# A fetch takes its time, and a topic's own may take longer than those of all others.
_EMPTY_READS = {"t": 0, "t-dlq": 5}


class Reader:
    """A reader whose first reads find nothing yet."""

    def __init__(self, _kafka: object, topic: str, **_: object) -> None:
        self.topic = topic
        self.ranges = {0: Range(0, len(_STORED[topic]))}
        self._left = [*[[]] * _EMPTY_READS[topic], _STORED[topic]]
        self._next = 0

    def read(self, _most: int, _timeout_s: float) -> list[Message]:
        found = self._left.pop(0) if self._left else []
        self._next += len(found)
        return found

    def positions(self) -> dict[int, int]:
        return {0: self._next}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Cluster:
    """Topics with messages, all of them committed."""

    def __init__(self, _kafka: object) -> None:
        pass

    def topics(self) -> dict[str, list[int]]:
        return {topic: [0] for topic in _STORED}

    def ends(self, partitions: Collection[PartitionId]) -> dict[PartitionId, int]:
        return {each: len(_STORED[each[0]]) for each in partitions}

    def commits(
        self, _group: str, partitions: Collection[PartitionId]
    ) -> dict[PartitionId, tuple[int, CommitMetadata]]:
        return {each: (len(_STORED[each[0]]), NOTHING_HELD) for each in partitions}


def test_no_message_is_called_settled_before_its_dead_letter_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fakes: dict[str, Any] = {"TopicReader": Reader, "Groups": Cluster}
    for name, fake in fakes.items():
        monkeypatch.setattr(follow, name, fake)
    streams = [Stream("t", registry.get("envelopes"), "g", "t-dlq")]
    found = list(islice(Follower(ClusterOptions(Options(), {}), streams, EARLIEST).lines(), 2))
    assert [(each.offset, each.delivery) for each in found] == [(0, "dead letter"), (1, "settled")]
