"""A reset moves no partition whose offsets Kafka does not say."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import pytest

from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.groups import Group, Groups
from consumer_fleet.kafka.offset_spec import OffsetSpec
from consumer_fleet.kafka.reader import PartitionId, Range
from consumer_fleet.offsets.plan import plan_reset
from consumer_fleet.targets import Target


class Cluster:
    """A topic of two partitions, one of which is deleted before it is asked for a time."""

    def topics(self) -> dict[str, list[int]]:
        return {"t": [0, 1]}

    def describe(self, names: Collection[str]) -> dict[str, Group]:
        return {name: Group(name, "empty", "classic") for name in names}

    def committed(self, _group: str, _partitions: object) -> dict[PartitionId, int]:
        return {}

    def ranges(self, partitions: Collection[PartitionId]) -> dict[PartitionId, Range]:
        return {each: Range(0, 9) for each in partitions}

    def at_time(self, _partitions: object, _time_ms: int) -> dict[PartitionId, int | None]:
        return {("t", 0): None}


def test_a_partition_that_is_deleted_meanwhile_is_not_moved_to_its_end() -> None:
    groups, spec = cast(Groups, Cluster()), OffsetSpec("time", 1)
    with pytest.raises(KafkaUnreachable, match=r"t/1 .* was deleted"):
        plan_reset(groups, Target(None, "g", "t"), spec, (), may_be_new=False)
    (move,) = plan_reset(groups, Target(None, "g", "t"), spec, (0,), may_be_new=False)
    assert move.to == 9
