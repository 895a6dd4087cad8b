"""The output of the benchmark."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench import plots as drawings
from bench.goals import Goal, Runs, at_least
from bench.measure import MemorySample, growth_percent
from bench.recordings import MIN_RATIO, Comparison


class Report:
    """Prints each part as soon as it is known, and the table of goals at the end.

    ``plots`` is a folder for plots of the speeds and of the memory.
    """

    def __init__(self, console: Console, plots: Path | None) -> None:
        self._console = console
        self._plots = plots
        self._goals: list[Goal] = []

    def machine(self) -> None:
        load = os.getloadavg()[0]
        self._print(
            f"{os.cpu_count()} cores ({_cpu_model()}), {platform.system()} {platform.release()}, "
            f"Python {platform.python_version()}, load before the start {load:.2f}"
        )

    def progress(self, text: str) -> None:
        """Print a step that takes a while."""
        self._console.print(f"… {text}", style="dim", highlight=False)

    @property
    def missed(self) -> bool:
        return not all(goal.is_met for goal in self._goals)

    def add(self, *goals: Goal) -> None:
        """Print goals as they are known, and remember them for the table."""
        self._goals += goals
        for goal in goals:
            state = "PASS" if goal.is_met else "FAIL"
            self._print(f"{state}  {goal.work}: {goal.figure} (goal {goal.limit})")

    def goals(self) -> None:
        """Print all goals as a Markdown table."""
        self._print("\n| work | goal | measured | |\n|---|---|---|---|")
        for goal in self._goals:
            state = "reached" if goal.is_met else "**not reached**"
            self._print(f"| {goal.work} | {goal.limit} | {goal.figure} | {state} |")

    def speeds(self, runs: Runs, title: str, unit: str = "message") -> None:
        """Print the speeds of each contender."""
        units = "messages" if unit == "message" else unit
        roles = list(next(iter(runs.values()))[0].cpu_us)
        table = Table(
            title=f"{title}: {units}/s from Kafka to accepted; CPU in µs/{unit} (medians)",
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
        self._print("")
        if self._plots is not None:
            drawings.speeds(runs, title, self._plots)

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
        if self._plots is not None:
            drawings.memory(samples, self._plots)

    def recordings(self, found: Iterable[Comparison]) -> None:
        for each in found:
            self.progress(str(each))
            self.add(at_least(f"{each.what}: rate ÷ {each.beside}", MIN_RATIO, each.ratios))

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


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
