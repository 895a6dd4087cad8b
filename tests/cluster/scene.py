"""A release of the chart with its topics and a project at the receiver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.load import Sent, SteadyLoad
from tests.cluster.pod_logs import LogEvent
from tests.cluster.receiver import Receiver
from tests.cluster.release import Release
from tests.support.kafka_broker import KafkaBroker

CONSUMER = "ingest-events"


class Scene:
    """A release whose topics and groups end with ``suffix``, because tests share a broker."""

    def __init__(
        self, release: Release, kafka: KafkaBroker, receiver: Receiver, project: int, suffix: str
    ) -> None:
        self.release = release
        self.cluster: Cluster = release.cluster
        self.kafka = kafka
        self.receiver = receiver
        self.project = project
        self._suffix = suffix

    def topic(self, partitions: int, logical: str = CONSUMER) -> str:
        return self.kafka.create_topic(f"{logical}-{self._suffix}", partitions)

    def values(
        self, topic: str, partitions: int, logical: str = CONSUMER, **more: Any
    ) -> dict[str, object]:
        """Return the chart's values of a consumer of that topic, in a group of the same name."""
        return {
            "topic": logical,
            "physicalTopic": topic,
            "group": topic,
            "partitions": partitions,
            **more,
        }

    def load(self, topic: str, *, per_second: int = 200, padding: int = 0) -> SteadyLoad:
        return SteadyLoad(self.kafka, topic, per_second=per_second, padding=padding)

    def events(self, *names: str) -> list[LogEvent]:
        """Return the log events of all pods that the release has had, by time."""
        return self.cluster.logs.events(self.release.namespace, "", *names)

    def moves(self) -> list[LogEvent]:
        return self.events("partitions_assigned", "partitions_revoked")

    def received(self) -> Counter[str]:
        return self.receiver.event_ids(self.project)

    def wait_until_committed(self, topic: str, *, timeout_s: float = 180) -> float:
        """Block until the topic's group has committed everything; return the seconds."""
        ends = {index: end for index, end in self.kafka.end_offsets(topic).items() if end}
        return self.cluster.wait_for(
            lambda: self.kafka.committed(topic, topic) == ends,
            f"all of {topic} to be committed",
            timeout_s=timeout_s,
        )

    def wait_until_delivering(self) -> None:
        """Block until more events arrive at the receiver."""
        before = self.receiver.count(self.project)
        self.cluster.wait_for(
            lambda: self.receiver.count(self.project) > before, "events to arrive"
        )

    def slowest_s(self, sent: dict[str, Sent]) -> float:
        """Return the longest time from Kafka's acknowledgement of a message to its acceptance."""
        first: dict[str, float] = {}
        for accepted in self.receiver.accepted(self.project):
            first.setdefault(accepted.event_id, accepted.time_s)
        return max(first[event_id] - each.time_s for event_id, each in sent.items())

    def check_exactly(self, sent: Iterable[str]) -> None:
        """Check that every event was accepted exactly once."""
        missing, surplus = self._differences(sent)
        assert not missing, f"{len(missing)} lost: {list(missing)[:5]}"
        assert not surplus, f"{surplus.total()} too many: {list(surplus)[:5]}"

    def check_nothing_lost(self, sent: Iterable[str]) -> int:
        """Check that every event was accepted; return how many came more than once."""
        missing, surplus = self._differences(sent)
        assert not missing, f"{len(missing)} lost: {list(missing)[:5]}"
        assert set(surplus) <= set(sent), "something arrived that was never sent"
        return surplus.total()

    def _differences(self, sent: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
        received, expected = self.received(), Counter(list(sent))
        return expected - received, received - expected
