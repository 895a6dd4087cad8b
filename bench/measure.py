"""The measurements. Each starts processes, watches the sink's counts, and returns figures."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import proc
from bench.contenders import Contender, Ground, Running, consumer_fleet, start_consumer_fleet
from bench.upstream import Sink, Stats
from tests.support.requirements import MissingPart

_POLL_INTERVAL_S = 0.02
# After so long without an accepted message, something hangs.
_PATIENCE_S = 30.0
_CONNECTIONS = 64
_LUA = Path(__file__).with_name("post.lua")


@dataclass(frozen=True, slots=True)
class Speed:
    """``rate`` in messages per second, from the first to the last accepted; ``cpu_us`` by role, in
    microseconds of CPU per message.
    """

    rate: float
    cpu_us: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MemorySample:
    """The memory of each process when the sink had accepted ``accepted`` messages."""

    accepted: int
    processes: Mapping[str, proc.Memory]


def ceiling(sink: Sink, seconds: int) -> float:
    """Measure the requests per second that the sink answers to wrk: the limit for everyone."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise MissingPart("wrk is not on the PATH (Debian: apt-get install wrk)")
    sink.reset()
    command = [wrk, "-t2", f"-c{_CONNECTIONS}", f"-d{seconds}s", "-s", str(_LUA), sink.url]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    refused = sink.stats().refused
    if refused or "Non-2xx" in run.stdout:
        raise RuntimeError(f"the sink refused {refused} of wrk's requests:\n{run.stdout}")
    return parse_wrk(run.stdout)


def parse_wrk(output: str) -> float:
    """Return the requests per second from wrk's output."""
    found = re.search(r"^Requests/sec:\s*([\d.]+)$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk's output has no rate:\n{output}")
    return float(found[1])


def speed(ground: Ground, contender: Contender, topic: str, messages: int) -> Speed:
    """Measure one run over the topic's first ``messages``."""
    ground.sink.reset()
    with contender.run(ground, topic) as running:
        begin = _wait_for(ground.sink, running, 1)
        before = _cpu_by_role(ground, running.pid)
        end = _wait_for(ground.sink, running, messages)
        after = _cpu_by_role(ground, running.pid)
    return Speed(
        rate=rate(end),
        # Both readings come a moment after their counts.
        cpu_us={
            role: (after[role] - before[role]) * 1e6 / (end.accepted - begin.accepted)
            for role in after
        },
    )


def rate(stats: Stats) -> float:
    """Return messages per second; the first message only starts the clock."""
    return (stats.accepted - 1) * 1e9 / (stats.last_ns - stats.first_ns)


def memory(ground: Ground, topic: str, messages: int, workers: int) -> list[MemorySample]:
    """Take ten samples during one run of consumer-fleet, evenly spread over the messages."""
    ground.sink.reset()
    samples: list[MemorySample] = []
    with consumer_fleet(workers).run(ground, topic) as running:
        for accepted in range(messages // 10, messages + 1, messages // 10):
            stats = _wait_for(ground.sink, running, accepted)
            samples.append(MemorySample(stats.accepted, _memory_by_name(running.pid)))
    return samples


def start(ground: Ground, topic: str, workers: int) -> float:
    """Return the seconds from the start of the process to the first accepted event."""
    ground.sink.reset()
    began_ns = time.time_ns()
    with start_consumer_fleet(ground, topic, workers) as running:
        return (_wait_for(ground.sink, running, 1).first_ns - began_ns) / 1e9


def growth_percent(sizes: Sequence[int]) -> float:
    """Return the growth from the first sample to the last."""
    return (sizes[-1] - sizes[0]) * 100 / sizes[0]


def _wait_for(sink: Sink, running: Running, accepted: int) -> Stats:
    stats = sink.stats()
    progressed_at = time.monotonic()
    while stats.accepted < accepted:
        time.sleep(_POLL_INTERVAL_S)
        before, stats = stats, sink.stats()
        if stats.accepted > before.accepted:
            progressed_at = time.monotonic()
        elif not running.is_running or time.monotonic() - progressed_at > _PATIENCE_S:
            what = "hangs" if running.is_running else "has ended"
            raise RuntimeError(f"{what} at {stats.accepted} of {accepted} messages")
    return stats


def _cpu_by_role(ground: Ground, pid: int) -> dict[str, float]:
    return {
        "parent": proc.cpu_s(pid),
        "workers": sum(proc.cpu_s(each) for each in proc.descendants(pid)),
        "sink": proc.cpu_s(ground.sink.pid),
        "Kafka": proc.cpu_s(ground.kafka_pid),
    }


def _memory_by_name(pid: int) -> dict[str, proc.Memory]:
    workers = [each for each in proc.descendants(pid) if "spawn_main" in proc.command_line(each)]
    names = {"parent": pid} | {f"worker {n}": each for n, each in enumerate(workers, 1)}
    return {name: proc.memory(each) for name, each in names.items()}
