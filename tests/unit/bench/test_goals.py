"""Goals are judged by medians of rounds, and show their spread."""

from __future__ import annotations

from dataclasses import replace

from bench.attachments import Growth
from bench.faults import Faults
from bench.goals import at_least, at_most, attachments, faults, flood, memory, ratios
from bench.measure import MemorySample, Speed
from bench.proc import Memory


def test_ratios_compare_runs_of_the_same_round() -> None:
    assert ratios([100, 60], [10, 20]) == [10, 3]


def test_a_goal_is_judged_by_the_median_of_its_rounds() -> None:
    assert at_least("rate", 1.1, [0.9, 1.2, 1.1]).is_met
    assert not at_least("rate", 1.1, [0.9, 1.09, 5]).is_met
    assert at_most("CPU", 16, [90, 15, 16], " µs").is_met
    assert not at_most("CPU", 16, [17, 15, 16.1], " µs").is_met


def test_a_goal_shows_the_spread_of_its_rounds() -> None:
    assert at_most("CPU", 16, [15, 14.25, 18.5], " µs").figure == "15 µs (14.2 to 18.5)"


def test_a_lost_message_or_one_repeated_too_often_misses_the_goal() -> None:
    found = Faults(messages=1000, kills=2, lost=0, dead_letters=0, duplicates=40, ambiguous=8)
    assert found.bound == 40
    assert faults(found).is_met
    assert not faults(replace(found, duplicates=41)).is_met
    assert not faults(replace(found, lost=1)).is_met


HALVES = [Speed(1, {"parent": 3, "workers": 15}), Speed(1, {"parent": 3, "workers": 17})]


def sample(parent_mib: int, worker_mib: int, accepted: int = 50_000) -> MemorySample:
    sizes = {"parent": parent_mib, "worker 1": 30, "worker 2": worker_mib}
    memories = {name: Memory(0, mib * 1024, 0) for name, mib in sizes.items()}
    return MemorySample(accepted, memories)


def test_nothing_is_compared_with_the_memory_of_a_run_of_few_messages() -> None:
    found = memory([sample(60, 40, 5_000)], [sample(120, 45, 200_000)], HALVES)
    assert not [goal for goal in found if "÷ short" in goal.work]
    assert len(found) == 5


def test_memory_is_the_largest_of_each_kind_of_process() -> None:
    found = memory([sample(100, 40), sample(90, 45)], [sample(139, 44), sample(50, 51)], HALVES)
    assert [goal.is_met for goal in found] == [True, True, False, True, False, False, False]
    assert found[2].figure == "51 MiB"


def test_a_flood_may_use_little_more_memory_in_its_second_half() -> None:
    first, earlier = {"parent": 90.0, "worker": 80.0}, {"parent": 140.0, "worker": 80.0}
    found = flood(Growth(20, first, earlier, {"parent": 150.0, "worker": 140.0}))
    assert [goal.is_met for goal in found] == [True, False]
    assert found[0].figure == "10 MiB (150 at most; 90 in the first GB)"


def test_attachments_are_compared_by_their_bytes() -> None:
    ours, plain = [Speed(200, {}), Speed(90, {})], [Speed(400, {}), Speed(200, {})]
    assert not attachments(ours, plain).is_met
    assert attachments(ours[:1], plain[:1]).is_met
