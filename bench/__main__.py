"""``make bench``: consumer-fleet's speed, memory and start, with a real Kafka on this machine."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from rich.console import Console

from bench import backlog, measure, proc, recordings
from bench.contenders import Contender, Ground, consumer_fleet, stock
from bench.report import Report
from bench.upstream import Sink
from consumer_fleet.humanize import counted
from tests.support.kafka_broker import KafkaBroker
from tests.support.requirements import MissingPart

_PARTS = ("ceiling", "speed", "memory", "start", "recordings")
_START_WORKERS = 2


def main() -> int:
    given = _parse()
    report = Report(Console(width=max(Console().width, 100)))
    try:
        _run(given, report)
    except MissingPart as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1
    return 1 if given.check and report.missed else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "--only", choices=_PARTS, action="append", help="measure only this; repeat for more"
    )
    parser.add_argument("--messages", type=int, default=100_000, help="messages per speed run")
    parser.add_argument("--memory-messages", type=int, default=500_000)
    parser.add_argument("--workers", type=int, action="append", help="default: 1 and 2")
    parser.add_argument("--runs", type=int, default=3, help="runs per contender")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--stock-batch", type=int, default=500, help="messages per stock batch")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is missed")
    return parser.parse_args()


def _run(given: argparse.Namespace, report: Report) -> None:
    parts: Collection[str] = given.only or _PARTS
    report.machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Sink(Path(name)) as sink:
        if "ceiling" in parts:
            report.ceiling(measure.ceiling(sink, seconds=5))
        if set(parts) == {"ceiling"}:
            return
        with closing(KafkaBroker(heap_mib=1024)) as kafka:
            kafka.start()
            (kafka_pid,) = (
                pid
                for pid in proc.descendants(os.getpid())
                if "kafka.Kafka " in proc.command_line(pid)
            )
            _run_with_kafka(parts, given, report, Ground(kafka, sink, Path(name), kafka_pid))


def _run_with_kafka(
    parts: Collection[str], given: argparse.Namespace, report: Report, ground: Ground
) -> None:
    topic = "ingest-events"
    if "speed" in parts or "start" in parts:
        report.progress(f"writing {given.messages:,} messages")
        backlog.fill(ground.kafka, topic, given.messages)
    if "speed" in parts:
        _measure_speed(given, report, ground, topic)
    if "start" in parts:
        report.progress(f"starting {given.starts} times")
        seconds = [measure.start(ground, topic, _START_WORKERS) for _ in range(given.starts)]
        report.starts(seconds, _START_WORKERS)
    if "memory" in parts:
        report.progress(f"writing {given.memory_messages:,} messages, reading them")
        long_topic = backlog.fill(ground.kafka, "ingest-events-long", given.memory_messages)
        workers = max(given.workers or (2,))
        report.memory(measure.memory(ground, long_topic, given.memory_messages, workers))
    if "recordings" in parts:
        report.progress("recording and replaying")
        report.recordings(
            recordings.measure(ground.kafka, ground.folder, given.messages, given.runs)
        )


def _measure_speed(given: argparse.Namespace, report: Report, ground: Ground, topic: str) -> None:
    contenders = [
        contender
        for workers in given.workers or (1, 2)
        for contender in (consumer_fleet(workers), stock(workers, given.stock_batch))
    ]

    def run(contender: Contender) -> measure.Speed:
        messages = int(given.messages * contender.share)
        found = measure.speed(ground, contender, topic, messages)
        workers = counted(contender.workers, "worker")
        report.progress(f"{contender.name}, {workers}: {found.rate:,.0f}/s")
        return found

    report.progress("warming up")
    for contender in contenders[-2:]:
        run(contender)
    runs: dict[tuple[str, int], list[measure.Speed]] = {}
    # In turn, so that other load on the machine affects all contenders alike.
    for _ in range(given.runs):
        for contender in contenders:
            runs.setdefault((contender.name, contender.workers), []).append(run(contender))
    report.speeds(runs)


if __name__ == "__main__":
    sys.exit(main())
