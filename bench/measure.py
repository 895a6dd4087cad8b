"""The measurements. Each starts processes, watches the sink's counts, and returns figures."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from confluent_kafka import Consumer

from bench import proc
from bench.contenders import (
    Contender,
    Ground,
    Running,
    consumer_fleet,
    start_consumer_fleet,
    start_peer,
)
from bench.upstream import Sink, Stats
from tests.support.requirements import MissingPart

_POLL_INTERVAL_S = 0.02
# After so long without an accepted message, something hangs.
_PATIENCE_S = 30.0
_SDK_PATIENCE_S = 60.0
_CONNECTIONS = 64
_BATCH = 500
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


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The requests per second that the sink answers to wrk, and the CPU of both per request."""

    rate: float
    wrk_us: float
    sink_us: float


def ceiling(sink: Sink, seconds: int) -> Ceiling:
    """Measure what the sink answers to wrk: a limit for everyone."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise MissingPart("wrk is not on the PATH (Debian: apt-get install wrk)")
    sink.reset()
    command = [wrk, "-t2", f"-c{_CONNECTIONS}", f"-d{seconds}s", "-s", str(_LUA), sink.url]
    before = _children_cpu_s(), proc.cpu_s(sink.pid)
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    after = _children_cpu_s(), proc.cpu_s(sink.pid)
    stats = sink.stats()
    refused = stats.refused
    if refused or "Non-2xx" in run.stdout:
        raise RuntimeError(f"the sink refused {refused} of wrk's requests:\n{run.stdout}")
    wrk_us, sink_us = (
        (end - begin) * 1e6 / stats.accepted for begin, end in zip(before, after, strict=True)
    )
    return Ceiling(parse_wrk(run.stdout), wrk_us, sink_us)


def _children_cpu_s() -> float:
    """Return the CPU time of the processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def parse_wrk(output: str) -> float:
    """Return the requests per second from wrk's output."""
    found = re.search(r"^Requests/sec:\s*([\d.]+)$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk's output has no rate:\n{output}")
    return float(found[1])


def speed(
    ground: Ground, contender: Contender, topic: str, messages: int, copies: int = 1
) -> Speed:
    """Measure one run over the topic's first ``messages``, each accepted ``copies`` times.

    The rate counts requests, the CPU messages.
    """
    ground.sink.reset()
    with contender.run(ground, topic) as running:
        begin = wait_for(ground.sink, running, 1)
        before = _cpu_by_role(ground, running.pid)
        end = wait_for(ground.sink, running, messages * copies)
        after = _cpu_by_role(ground, running.pid)
    # Both readings come a moment after their counts.
    return Speed(rate(end), _cpu_us(before, after, (end.accepted - begin.accepted) / copies))


def arrived(ground: Ground, topic: str) -> tuple[int, int]:
    """Return how many events a loop around the Sentry SDK has read, and how many were accepted."""
    ground.sink.reset()
    with start_peer(ground, topic, "peer_sdk") as running:
        code = running.wait(_SDK_PATIENCE_S)
    if code != 0:
        raise RuntimeError(f"the SDK's loop ended with {code}")
    return sum(ground.kafka.end_offsets(topic).values()), ground.sink.stats().accepted


def consume_alone(ground: Ground, topic: str, messages: int) -> float:
    """Measure the messages per second of ``consume()`` without any work: the client's limit."""
    config = ground.kafka.client_config(
        group_id=uuid.uuid4().hex, auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer = Consumer(config)
    consumer.subscribe([topic])
    count, began = 0, 0.0
    while count < messages:
        found = consumer.consume(_BATCH, _PATIENCE_S)
        if not found:
            raise RuntimeError(f"hangs at {count} of {messages} messages")
        began = began or time.perf_counter()
        count += len(found)
    elapsed = time.perf_counter() - began
    consumer.close()
    return count / elapsed


def rate(stats: Stats) -> float:
    """Return messages per second; the first message only starts the clock."""
    return (stats.accepted - 1) * 1e9 / (stats.last_ns - stats.first_ns)


def memory(
    ground: Ground, topic: str, messages: int, workers: int
) -> tuple[list[MemorySample], list[Speed]]:
    """Take ten samples during one run of consumer-fleet, evenly spread over the messages.

    Also returns the figures of the run's halves, from the first sample on.
    """
    ground.sink.reset()
    samples: list[MemorySample] = []
    cpu: list[tuple[Stats, Mapping[str, float]]] = []
    with consumer_fleet(workers).run(ground, topic) as running:
        for tenth in range(1, 11):
            stats = wait_for(ground.sink, running, messages * tenth // 10)
            samples.append(MemorySample(stats.accepted, memory_by_name(running.pid)))
            # The first tenth has the start in it, the last one the end: four tenths each.
            if tenth in (1, 5, 9):
                cpu.append((stats, _cpu_by_role(ground, running.pid)))
    halves = []
    for (begin, before), (end, after) in pairwise(cpu):
        count = end.accepted - begin.accepted
        per_second = count * 1e9 / (end.last_ns - begin.last_ns)
        halves.append(Speed(per_second, _cpu_us(before, after, count)))
    return samples, halves


def total_pss(ground: Ground, running: Running, messages: int) -> int:
    """Return the largest PSS, in KiB, of all processes together while ``messages`` are accepted."""
    sizes = []
    for tenth in range(1, 11):
        wait_for(ground.sink, running, messages * tenth // 10)
        sizes.append(sum(each.pss for each in memory_by_name(running.pid).values()))
    return max(sizes)


def start(ground: Ground, topic: str, workers: int) -> float:
    """Return the seconds from the start of the process to the first accepted event."""
    ground.sink.reset()
    began_ns = time.time_ns()
    with start_consumer_fleet(ground, topic, workers, "--stop-at-end") as running:
        return (wait_for(ground.sink, running, 1).first_ns - began_ns) / 1e9


def delivery(envelopes: int, runs: int) -> float:
    """Return the CPU of bench/deliver.py per envelope, in microseconds."""
    command = [sys.executable, "-m", "bench.deliver", "--posts", "socket"]
    command += ["--envelopes", str(envelopes), "--runs", str(runs)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return parse_delivery(printed)


def parse_delivery(output: str) -> float:
    """Return the median from bench/deliver.py's output."""
    found = re.search(r"socket median ([\d.]+) µs", output)
    if found is None:
        raise ValueError(f"the output has no median:\n{output}")
    return float(found[1])


def growth_percent(sizes: Sequence[int]) -> float:
    """Return the growth from the first sample to the last."""
    return (sizes[-1] - sizes[0]) * 100 / sizes[0]


def wait_for(sink: Sink, running: Running, accepted: int) -> Stats:
    """Block until the sink has accepted so many; raises where nothing moves."""
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


def _cpu_us(
    before: Mapping[str, float], after: Mapping[str, float], messages: float
) -> dict[str, float]:
    return {role: (after[role] - before[role]) * 1e6 / messages for role in after}


def _cpu_by_role(ground: Ground, pid: int) -> dict[str, float]:
    return {
        "parent": proc.cpu_s(pid),
        "workers": sum(proc.cpu_s(each) for each in proc.descendants(pid)),
        "sink": proc.cpu_s(ground.sink.pid),
        "Kafka": proc.cpu_s(ground.kafka_pid),
    }


def memory_by_name(pid: int) -> dict[str, proc.Memory]:
    """The memory of a consumer's parent and workers."""
    workers = [each for each in proc.descendants(pid) if "spawn_main" in proc.command_line(each)]
    names = {"parent": pid} | {f"worker {n}": each for n, each in enumerate(workers, 1)}
    return {name: proc.memory(each) for name, each in names.items()}
