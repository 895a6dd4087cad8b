"""The plots of docs/performance.md, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib import ticker

from bench.goals import Runs
from bench.measure import MemorySample

# Files only: a benchmark has no screen.
mpl.use("Agg")

from matplotlib import pyplot as plt  # after the choice above

_WIDTH_IN = 8.0
_BAR_IN = 0.42
_DPI = 110
_THOUSANDS = "{x:,.0f}"
_COLOURS: Mapping[str, str] = {
    "parent": "#4c72b0",
    "workers": "#8fb0d9",
    "sink": "#c8c8c8",
    "Kafka": "#e3e3e3",
}


def speeds(runs: Runs, title: str, folder: Path) -> None:
    """Draw the rates with their spread, and the CPU time by process, of one kind of work."""
    names = [f"{name}, {workers} w." if workers > 1 else name for name, workers in runs]
    rates = [[speed.rate for speed in each] for each in runs.values()]
    middles = [median(each) for each in rates]
    spread = [
        [middle - min(each) for middle, each in zip(middles, rates, strict=True)],
        [max(each) - middle for middle, each in zip(middles, rates, strict=True)],
    ]
    height = 1.4 + _BAR_IN * len(names)
    figure, (left, right) = plt.subplots(1, 2, figsize=(_WIDTH_IN, height), sharey=True)
    left.barh(names, middles, xerr=spread, color=_COLOURS["parent"], capsize=3)
    left.set_xlabel("messages/s")
    left.xaxis.set_major_locator(ticker.MaxNLocator(4))
    left.xaxis.set_major_formatter(_THOUSANDS)
    begins = [0.0] * len(names)
    for role, colour in _COLOURS.items():
        parts = [median(speed.cpu_us[role] for speed in each) for each in runs.values()]
        right.barh(names, parts, left=begins, color=colour, label=role)
        begins = [begin + part for begin, part in zip(begins, parts, strict=True)]
    right.set_xlabel("CPU, µs/message")
    right.legend(fontsize="small")
    left.invert_yaxis()
    figure.suptitle(title)
    _save(figure, folder / f"{_file_name(title)}.png")


def memory(samples: Sequence[MemorySample], folder: Path) -> None:
    """Draw the memory of each process over a run."""
    figure, axes = plt.subplots(figsize=(_WIDTH_IN, 3.2))
    accepted = [sample.accepted for sample in samples]
    for name in samples[0].processes:
        axes.plot(accepted, [s.processes[name].pss / 1024 for s in samples], "o-", label=name)
    axes.set_xlabel("messages accepted")
    axes.xaxis.set_major_formatter(_THOUSANDS)
    axes.set_ylabel("PSS, MiB")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    _save(figure, folder / "memory.png")


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)


def _file_name(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
