"""The simulated parent does all of its work, and a group is as fast as its busiest member."""

from __future__ import annotations

import pytest

from bench.scale import Plan, group_limit, simulate


@pytest.mark.parametrize("is_deep", [True, False])
def test_every_message_of_every_partition_is_settled(is_deep: bool) -> None:
    assert simulate(Plan(7, 2000, is_deep=is_deep)) > 0


def test_a_groups_limit_is_that_of_its_busiest_member() -> None:
    limits = {1: 100.0, 10: 90.0}
    assert group_limit(10, 10, limits) == 1000
    assert group_limit(10, 100, limits) == 1000
    assert group_limit(10, 1, limits) == 90
    # Six of ten partitions on one of two members would hold up the others.
    assert group_limit(10, 3, limits) == 90 * 10 / 4
