"""The output of the benchmark."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.measure import MemorySample, Speed, growth_percent
from bench.recordings import MIN_RATIO as MIN_SHARE
from bench.recordings import Comparison
from consumer_fleet.humanize import counted

MIN_RATIO = 5.0
MAX_START_S = 3.0

OURS = "consumer-fleet"


class Report:
    """Prints each part as soon as it is known, and remembers missed limits."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.missed: list[str] = []

    def machine(self) -> None:
        load = os.getloadavg()[0]
        self._print(
            f"{os.cpu_count()} cores ({_cpu_model()}), {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, load before the start {load:.2f}"
        )

    def progress(self, text: str) -> None:
        """Print a step that takes a while."""
        self._console.print(f"… {text}", style="dim", highlight=False)

    def ceiling(self, requests_per_s: float) -> None:
        self._print(f"Ceiling: wrk gets {requests_per_s:,.0f} requests/s out of the sink.\n")

    def speeds(self, runs: Mapping[tuple[str, int], Sequence[Speed]]) -> None:
        """Print the speeds; ``runs`` is keyed by contender and number of workers."""
        roles = list(next(iter(runs.values()))[0].cpu_us)
        table = Table(
            title="Messages/s from Kafka to accepted; CPU by process in µs/message (medians)",
            title_justify="left",
        )
        table.add_column("contender", no_wrap=True)
        for heading in ("workers", "min", "median", "max", *roles):
            table.add_column(heading, justify="right", no_wrap=True)
        for (name, workers), speeds in runs.items():
            rates = [speed.rate for speed in speeds]
            figures = [f"{figure:,.0f}" for figure in (min(rates), median(rates), max(rates))]
            cpu = [f"{median(speed.cpu_us[role] for speed in speeds):.1f}" for role in roles]
            table.add_row(name, str(workers), *figures, *cpu)
        self._console.print(table)
        self._ratios(runs)

    def _ratios(self, runs: Mapping[tuple[str, int], Sequence[Speed]]) -> None:
        for (name, workers), theirs in runs.items():
            ours = runs.get((OURS, workers))
            if name == OURS or ours is None:
                continue
            each = ratios(ours, theirs)
            what = (
                f"{OURS} / {name}, {counted(workers, 'worker')}: "
                f"median {median(each):.1f} times as fast "
                f"({', '.join(f'{ratio:.1f}' for ratio in each)})"
            )
            self._judge(what, f"at least {MIN_RATIO:g}", passed=median(each) >= MIN_RATIO)
        self._print("")

    def memory(self, samples: Sequence[MemorySample]) -> None:
        names = list(samples[0].processes)
        table = Table(title="PSS (USS) in MiB during one run", title_justify="left")
        for heading in ("accepted", *names, "all"):
            table.add_column(heading, justify="right")
        for sample in samples:
            cells = [f"{_mib(m.pss)} ({_mib(m.uss)})" for m in sample.processes.values()]
            table.add_row(f"{sample.accepted:,}", *cells, _mib(_total(sample)))
        series = [[sample.processes[name].pss for sample in samples] for name in names]
        series.append([_total(sample) for sample in samples])
        table.add_section()
        table.add_row("growth", *(f"{growth_percent(sizes):+.1f}%" for sizes in series))
        self._console.print(table)
        self._print("")

    def starts(self, seconds: Sequence[float], workers: int) -> None:
        what = (
            f"Start to first accepted event, {workers} workers: median {median(seconds):.2f} s "
            f"of {', '.join(f'{each:.2f}' for each in sorted(seconds))}"
        )
        self._judge(what, f"at most {MAX_START_S:g} s", passed=median(seconds) <= MAX_START_S)

    def recordings(self, found: Iterable[Comparison]) -> None:
        for each in found:
            self._judge(str(each), f"at least {MIN_SHARE:g}", passed=each.is_met)

    def _judge(self, what: str, limit: str, *, passed: bool) -> None:
        self._print(f"{'PASS' if passed else 'FAIL'}  {what} ({limit})")
        if not passed:
            self.missed.append(what)

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def ratios(ours: Sequence[Speed], theirs: Sequence[Speed]) -> list[float]:
    """Return the ratio of each round, whose runs followed each other under the same noise."""
    return [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]


def _total(sample: MemorySample) -> int:
    return sum(memory.pss for memory in sample.processes.values())


def _mib(kib: int) -> str:
    return f"{kib / 1024:.1f}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
