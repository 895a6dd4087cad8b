"""CPU time and memory of processes, from Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Stat(NamedTuple):
    parent_pid: int
    cpu_s: float


class Memory(NamedTuple):
    """In KiB. ``pss`` splits shared pages among those that share them; ``uss`` leaves them out."""

    rss: int
    pss: int
    uss: int


def parse_stat(text: str) -> Stat:
    """Parse /proc/PID/stat. The name in parentheses may contain parentheses and spaces."""
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)


def parse_memory(text: str) -> Memory:
    """Parse /proc/PID/smaps_rollup."""
    amounts = {}
    for line in text.splitlines()[1:]:
        name, _, amount = line.partition(":")
        amounts[name] = int(amount.split()[0])
    uss = amounts["Private_Clean"] + amounts["Private_Dirty"]
    return Memory(amounts["Rss"], amounts["Pss"], uss)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a running process and its threads have used."""
    return parse_stat(Path(f"/proc/{pid}/stat").read_text()).cpu_s


def memory(pid: int) -> Memory:
    return parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())


def descendants(pid: int) -> list[int]:
    """Return children, grandchildren and so on, in ascending order."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = parse_stat((folder / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since the listing
        children.setdefault(stat.parent_pid, []).append(int(folder.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        young = children.get(waiting.pop(), [])
        found += young
        waiting += young
    return sorted(found)


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
