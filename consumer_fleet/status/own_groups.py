"""Groups of this program under any name, found on the cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from consumer_fleet.dlq.topic import DLQ_GROUP_PREFIX
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.kafka.reader import PartitionId

# Each takes a client of its own, for a moment.
_MOST_ASKED: Final = 50
_AT_A_TIME: Final = 10
_CLIENT_ID: Final = "consumer-fleet"


@dataclass(slots=True)
class OwnGroups:
    """Members of a group are this program's by their client id; where there are none, commits are
    by their metadata, which has the topic's id.

    ``client_id`` is the one that this user has configured. `find` blocks on the broker.
    """

    client_id: str
    #: Group → its topics.
    topics: dict[str, frozenset[str]] = field(default_factory=dict)
    #: Dead-letter topics that this program has replayed.
    replayed: set[str] = field(default_factory=set)
    #: Groups without members that were too many to be asked.
    unasked: int = 0
    _foreign: set[str] = field(default_factory=set)

    def find(
        self,
        groups: Groups,
        topics: Mapping[str, Collection[int]],
        *,
        known: Collection[str],
        on: Iterable[str],
    ) -> None:
        """Look for groups that are not ``known``, and for the other topics of those that are.
        Commits of unknown groups count on the topics ``on`` only.
        """
        listed = groups.listed()
        others = {name for name in listed if name not in known}
        replays = {name for name in others if name.startswith(DLQ_GROUP_PREFIX)}
        self.replayed = {name.removeprefix(DLQ_GROUP_PREFIX) for name in replays}
        others -= replays
        self.topics = {name: found for name, found in self.topics.items() if name in listed}
        for name in sorted(listed.keys() & set(known)):
            self._keep(name, _committed(groups, name, topics, topics))
        active = groups.visible([name for name in others if listed[name] != "empty"])
        for name, group in active.items():
            own = [member for member in group.members if self._is_own(member.client_id)]
            if own:
                self._keep(name, {topic for member in own for topic, _ in member.assigned})
            elif group.members:
                self.topics.pop(name, None)
                self._foreign.discard(name)  # another may use the name later
        idle = others - {name for name, group in active.items() if group.members}
        self._ask(groups, idle - self.topics.keys() - self._foreign, topics, set(on))

    def _ask(
        self,
        groups: Groups,
        idle: set[str],
        topics: Mapping[str, Collection[int]],
        on: set[str],
    ) -> None:
        # The likely ones first.
        order = sorted(idle, key=lambda name: (_CLIENT_ID not in name, name))
        asked = order[:_MOST_ASKED]
        self.unasked = len(order) - len(asked)
        for begin in range(0, len(asked), _AT_A_TIME):
            names = asked[begin : begin + _AT_A_TIME]
            groups.prepare(names)
            for name in names:
                found = _committed(groups, name, topics, on, only_own=True)
                groups.release(name)
                if found:
                    self._keep(name, found)
                else:
                    self._foreign.add(name)

    def _keep(self, name: str, topics: Iterable[str]) -> None:
        """A member has no partition during a rebalance."""
        self.topics[name] = frozenset(topics) or self.topics.get(name, frozenset())

    def _is_own(self, client_id: str) -> bool:
        return client_id in (_CLIENT_ID, self.client_id)


def _committed(
    groups: Groups,
    name: str,
    topics: Mapping[str, Collection[int]],
    on: Iterable[str],
    *,
    only_own: bool = False,
) -> set[str]:
    """The topics in which the group has committed."""
    partitions: list[PartitionId] = [
        (topic, index) for topic in on for index in topics.get(topic, ())
    ]
    return {
        topic
        for (topic, _), (_, says) in groups.commits(name, partitions).items()
        if says.topic_id or not only_own
    }
