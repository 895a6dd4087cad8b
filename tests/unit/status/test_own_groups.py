"""Groups of this program are found under any name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from consumer_fleet.kafka.groups import Group, Groups, Member
from consumer_fleet.kafka.open_offsets import CommitMetadata
from consumer_fleet.kafka.reader import PartitionId
from consumer_fleet.status.own_groups import OwnGroups

TOPICS = {"events": [0, 1], "raw": [0], "other": [0]}


class Cluster:
    """Stands in for `Groups`: groups with members by client id, and commits."""

    def __init__(self) -> None:
        self.members: dict[str, list[tuple[str, str]]] = {}
        self.commits_of: dict[str, dict[PartitionId, str]] = {}
        self.asked: list[str] = []
        self.released: list[str] = []

    def listed(self) -> dict[str, str]:
        names = {*self.members, *self.commits_of}
        return {name: "stable" if self.members.get(name) else "empty" for name in names}

    def visible(self, names: Collection[str]) -> dict[str, Group]:
        return {
            name: Group(
                name,
                "stable",
                "classic",
                tuple(
                    Member(str(number), client, "/h", None, frozenset({(topic, 0)}))
                    for number, (client, topic) in enumerate(self.members[name])
                ),
            )
            for name in names
        }

    def commits(
        self, name: str, partitions: Collection[PartitionId]
    ) -> dict[PartitionId, tuple[int, CommitMetadata]]:
        self.asked.append(name)
        found = self.commits_of.get(name, {})
        return {each: (1, CommitMetadata(found[each])) for each in partitions if each in found}

    def prepare(self, _names: Collection[str]) -> None:
        pass

    def release(self, name: str) -> None:
        self.released.append(name)


def find(cluster: Cluster, own: OwnGroups, **known: Any) -> dict[str, set[str]]:
    given: dict[str, Any] = {"known": {"consumer-fleet-events"}, "on": {"events"}, **known}
    own.find(cast(Groups, cluster), TOPICS, **given)
    return {name: set(topics) for name, topics in own.topics.items() if topics}


def test_members_are_known_by_their_client_id_on_any_topic() -> None:
    cluster, own = Cluster(), OwnGroups("ours")
    cluster.members = {
        "mine": [("consumer-fleet", "raw")],
        "configured": [("ours", "events")],
        "snuba-consumers": [("rdkafka", "events")],
    }
    assert find(cluster, own) == {"mine": {"raw"}, "configured": {"events"}}


def test_a_stopped_group_is_known_by_the_metadata_of_its_commits() -> None:
    cluster, own = Cluster(), OwnGroups("ours")
    cluster.commits_of = {
        "mine": {("events", 1): "topic-id"},
        "snuba-consumers": {("events", 0): ""},
        "elsewhere": {("other", 0): "topic-id"},
        "consumer-fleet-dlq-raw-dlq": {("events", 0): ""},
    }
    assert find(cluster, own) == {"mine": {"events"}}
    assert own.replayed == {"raw-dlq"}
    assert set(cluster.released) == {"mine", "snuba-consumers", "elsewhere"}
    cluster.asked.clear()
    assert find(cluster, own) == {"mine": {"events"}}
    assert cluster.asked == [], "what is known of a group without members stays true"


def test_a_known_group_is_found_on_every_topic_that_it_has_committed_in() -> None:
    cluster, own = Cluster(), OwnGroups("ours")
    cluster.commits_of = {"consumer-fleet-events": {("events", 0): "", ("raw", 0): ""}}
    assert find(cluster, own) == {"consumer-fleet-events": {"events", "raw"}}


def test_a_group_keeps_its_topic_during_a_rebalance_and_is_forgotten_once_it_is_gone() -> None:
    cluster, own = Cluster(), OwnGroups("ours")
    cluster.members = {"mine": [("ours", "raw")]}
    find(cluster, own)
    cluster.members = {"mine": []}
    cluster.commits_of = {"mine": {}}
    assert find(cluster, own) == {"mine": {"raw"}}
    cluster.members, cluster.commits_of = {"mine": [("rdkafka", "events")]}, {}
    assert find(cluster, own) == {}, "another program has joined under that name"
    cluster.members = {}
    assert find(cluster, own) == {}


def test_of_too_many_stopped_groups_the_likely_ones_are_asked_and_the_others_counted() -> None:
    cluster, own = Cluster(), OwnGroups("ours")
    cluster.commits_of = {f"a-{number:03}": {} for number in range(70)}
    cluster.commits_of["z-consumer-fleet"] = {("events", 0): "topic-id"}
    assert find(cluster, own) == {"z-consumer-fleet": {"events"}}
    assert own.unasked == 21
    find(cluster, own)
    assert own.unasked == 0, "the next look goes on"
