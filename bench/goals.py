"""The goals for speed, and how the measured figures compare with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeAlias

from bench.attachments import Growth
from bench.contenders import GO, OURS, STOCK
from bench.faults import Faults
from bench.latency import Latency
from bench.measure import MemorySample, Speed

Runs: TypeAlias = Mapping[tuple[str, int], Sequence[Speed]]

_CONNECTIONS = 64
_KIB_PER_MIB = 1024
# A worker's memory is flat from here on.
_SETTLED_MESSAGES = 50_000
# The largest of many samples differs by a part of what is in flight.
_FLAT_MIB = 32


@dataclass(frozen=True, slots=True)
class Goal:
    """One row of the table: the figure, by round where there are rounds, and its limit."""

    work: str
    limit: str
    figure: str
    is_met: bool


def at_least(work: str, limit: float, figures: Sequence[float], unit: str = "") -> Goal:
    """Compare the median of the rounds."""
    return _goal(work, f"≥ {limit:g}{unit}", figures, unit, lambda value: value >= limit)


def at_most(work: str, limit: float, figures: Sequence[float], unit: str = "") -> Goal:
    """Compare the median of the rounds."""
    return _goal(work, f"≤ {limit:g}{unit}", figures, unit, lambda value: value <= limit)


def _goal(
    work: str, limit: str, figures: Sequence[float], unit: str, met: Callable[[float], bool]
) -> Goal:
    middle = median(figures)
    spread = f" ({min(figures):.3g} to {max(figures):.3g})" if len(figures) > 1 else ""
    return Goal(work, limit, f"{middle:.3g}{unit}{spread}", met(middle))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round, whose runs followed each other under the same noise."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def limit_goals(
    runs: Runs, wrk: Sequence[float], default_workers: int, work: str = "1.3 KB"
) -> list[Goal]:
    """Compare the rate with default workers with the other contenders and with wrk."""
    ours = _rates(runs, (OURS, default_workers))
    found = [
        at_least(f"{work}: rate ÷ {name}", limit, ratios(ours, _rates(runs, (name, 1))))
        for limit, name in ((1.10, GO), (10, STOCK))
        if (name, 1) in runs
    ]
    return [*found, at_least(f"{work}: rate ÷ wrk", 0.7, ratios(ours, wrk))]


def cpu_goals(runs: Runs) -> list[Goal]:
    """Judge the CPU per event of 1.3 KB of our processes."""
    found = []
    for workers, limit in ((1, 16), (2, 19)):
        speeds = runs.get((OURS, workers))
        if speeds is None:
            continue
        of_role = {role: [each.cpu_us[role] for each in speeds] for role in ("parent", "workers")}
        name = f"CPU per event, --workers {workers}"
        found.append(at_most(f"{name}: parent", 4, of_role["parent"], " µs"))
        found.append(at_most(f"{name}: workers", limit, of_role["workers"], " µs"))
    return found


def two_destinations(ours: Sequence[Speed], single: Sequence[Speed]) -> Goal:
    """Compare messages: each of them is accepted twice."""
    rates = [each.rate / 2 for each in ours]
    return at_least(
        "two destinations: rate ÷ one", 0.55, ratios(rates, [each.rate for each in single])
    )


def far_away(speeds: Sequence[Speed], delay_s: float) -> Goal:
    most = _CONNECTIONS / delay_s
    return at_least(
        f"{delay_s * 1000:g} ms away: rate ÷ (connections ÷ latency)",
        0.95,
        [each.rate / most for each in speeds],
    )


def worker_cpu(work: str, limit: float, speeds: Sequence[Speed]) -> Goal:
    return at_most(f"{work}: worker", limit, [each.cpu_us["workers"] for each in speeds], " µs")


def transform_cost(changed: Sequence[Speed], without: Sequence[Speed]) -> Goal:
    """A figure to know: there is no limit."""
    rounds = zip(changed, without, strict=True)
    cost = [mine.cpu_us["workers"] - other.cpu_us["workers"] for mine, other in rounds]
    found = at_most("a transform of one member, 14 KB: worker", math.inf, cost, " µs more")
    return replace(found, limit="none")


def attachments(ours: Sequence[Speed], plain: Sequence[Speed]) -> Goal:
    rates = [[each.rate for each in speeds] for speeds in (ours, plain)]
    return at_least("attachments, chunks of 1 MiB: MB/s ÷ a plain loop", 0.5, ratios(*rates))


def flood(found: Growth) -> list[Goal]:
    """Judge the growth of RSS from the first half to the second.

    What is in flight fills up to its budget within some gigabytes.
    """
    what = f"attachments, {found.gigabytes} GB: RSS of the second half less the first"
    goals = []
    for role, first in found.first.items():
        most, growth = found.later[role], found.later[role] - found.earlier[role]
        figure = f"{growth:.0f} MiB ({most:.0f} at most; {first:.0f} in the first GB)"
        goals.append(Goal(f"{what}: {role}", f"≤ {_FLAT_MIB} MiB", figure, growth <= _FLAT_MIB))
    return goals


def transform(rounds: Sequence[tuple[float, float]]) -> Goal:
    return at_least("transform only: rate ÷ arroyo's step", 20, ratios(*zip(*rounds, strict=True)))


def delivery(cpu_us: float) -> Goal:
    return at_most("delivery alone, per envelope", 9, [cpu_us], " µs")


def latency(found: Latency) -> list[Goal]:
    what = "1,000/s, produced to accepted"
    return [
        at_most(f"{what}: p50", 1, [found.p50], " ms"),
        at_most(f"{what}: p99", 10, [found.p99], " ms"),
    ]


def start(seconds: Sequence[float], workers: int) -> Goal:
    return at_most(f"start to first accepted, --workers {workers}", 0.8, seconds, " s")


def memory(
    short: Sequence[MemorySample], long: Sequence[MemorySample], halves: Sequence[Speed]
) -> list[Goal]:
    """Judge the largest PSS of a short and a long run, and the CPU in the halves of the long.

    A run of few messages ends while the processes still grow: nothing is compared with it.
    """
    found = []
    for samples in (short, long):
        parent, worker = _largest(samples)
        length = f"PSS, {samples[-1].accepted:,} messages"
        found.append(at_most(f"{length}: worker", 50, [worker], " MiB"))
        found.append(at_most(f"{length}: parent", 140, [parent], " MiB"))
    if short[-1].accepted >= _SETTLED_MESSAGES:
        sizes = zip(("parent", "worker"), _largest(long), _largest(short), strict=True)
        for process, more, less in sizes:
            name = f"PSS, long run ÷ short: {process}"
            found.append(at_most(name, 1.10, [more / less]))
    cpu = [each.cpu_us["parent"] + each.cpu_us["workers"] for each in halves]
    return [*found, at_most("CPU per event, second ÷ first half", 1.10, [cpu[1] / cpu[0]])]


def _largest(samples: Sequence[MemorySample]) -> tuple[float, float]:
    """Return the MiB of the parent and of the largest worker."""
    parent = max(sample.processes["parent"].pss for sample in samples)
    worker = max(
        each.pss
        for sample in samples
        for name, each in sample.processes.items()
        if name != "parent"
    )
    return parent / _KIB_PER_MIB, worker / _KIB_PER_MIB


def several(one_kib: int, nine_kib: int) -> Goal:
    return at_most("total PSS, nine consumers in one process ÷ one", 1.5, [nine_kib / one_kib])


def faults(found: Faults) -> Goal:
    return Goal(
        f"{found.messages:,} messages, failing requests, {found.kills} workers killed",
        "0 lost, repeated ≤ on the wire + ambiguous",
        f"{found.lost} lost, {found.duplicates:,} repeated of at most {found.bound:,} "
        f"({found.ambiguous:,} ambiguous; {found.dead_letters} dead letters)",
        found.is_met,
    )


def _rates(runs: Runs, key: tuple[str, int]) -> list[float]:
    return [speed.rate for speed in runs[key]]
