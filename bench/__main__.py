"""``make bench``: consumer-fleet's speed, memory and start, with a real Kafka on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from bench import (
    attachments,
    backlog,
    faults,
    goals,
    latency,
    measure,
    recordings,
    topics,
    transform,
)
from bench.contenders import (
    AIOHTTP,
    FASTSTREAM,
    OURS,
    Contender,
    Ground,
    consumer_fleet,
    go_forwarder,
    peer,
    prepared,
    start_several,
    stock,
)
from bench.measure import Speed
from bench.report import Report
from bench.upstream import Sink
from consumer_fleet.bootstrap.cpus import usable_cpus
from consumer_fleet.errors import FleetError
from consumer_fleet.humanize import counted
from tests.support.requirements import MissingPart

_TOPIC = "ingest-events"
_START_WORKERS = 2
_DEFAULT_WORKERS = max(1, usable_cpus() - 1)
# By the names of the parts: the length of one more text in each event.
_PADDING = MappingProxyType({"14 KB": 12_600, "61 KB": 60_000})
_FAR_S = 0.02
# Only by name: it takes minutes.
_LONG = frozenset({"flood"})
_IDLE = (
    *("events", "ingest-transactions", "ingest-attachments"),
    *("ingest-replay-recordings", "ingest-monitors", "profiles"),
)


def main() -> int:
    given = _parse()
    report = Report(Console(width=max(Console().width, 110)), given.plots)
    failed = False
    try:
        _run(given, report)
    except (MissingPart, FleetError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        failed = True
    report.goals()  # also of the parts before a failed one
    return 1 if failed or (given.check and report.missed) else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "--only", choices=_PARTS, action="append", help="measure only this; repeat for more"
    )
    parser.add_argument("--messages", type=int, default=200_000, help="messages per speed run")
    parser.add_argument("--memory-messages", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=5, help="rounds of speed runs")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="how long to measure latency")
    parser.add_argument("--stock-batch", type=int, default=500, help="messages per stock batch")
    parser.add_argument("--attachment-gigabytes", type=float, default=1.0, help="per speed run")
    parser.add_argument("--flood-gigabytes", type=int, default=20, help="of the part flood")
    parser.add_argument("--fault-messages", type=int, default=200_000)
    parser.add_argument("--faults", type=float, default=0.2, help="share of failing requests")
    parser.add_argument("--kills", type=int, default=30, help="workers to kill")
    parser.add_argument("--seed", type=int, default=1, help="seed of failures and kills")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw plots into this folder")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a goal is missed")
    return parser.parse_args()


def _run(given: argparse.Namespace, report: Report) -> None:
    report.machine()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        prepared(Path(name)) as ground,
    ):
        report.progress(f"writing {given.messages:,} messages")
        backlog.fill(ground.kafka, _TOPIC, given.messages)
        for part in given.only or [each for each in _PARTS if each not in _LONG]:
            report.progress(part)
            _PARTS[part](given, report, ground)


def _speed(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare 1.3 KB over plain HTTP with the other contenders, and with two limits.

    They are wrk at the same receiver, and ``consume()`` without work.
    """
    contenders = [
        *(consumer_fleet(workers) for workers in sorted({1, 2, 4, _DEFAULT_WORKERS})),
        go_forwarder(),
        stock(1, given.stock_batch),
        peer(AIOHTTP, "peer_aiohttp"),
        peer(FASTSTREAM, "peer_faststream"),
    ]
    wrk: list[float] = []

    def after_round() -> None:
        most = measure.ceiling(ground.sink, seconds=3)
        wrk.append(most.rate)
        cpu = f"wrk {most.wrk_us:.1f} µs, sink {most.sink_us:.1f} µs"
        report.progress(f"wrk: {most.rate:,.0f} requests/s; CPU: {cpu}")
        alone = measure.consume_alone(ground, _TOPIC, given.messages)
        report.progress(f"consume() alone: {alone:,.0f}/s")

    runs = _rounds(given, report, contenders, _measured(given, ground, _TOPIC), after_round)
    report.speeds(runs, "1.3 KB")
    report.add(*goals.limit_goals(runs, wrk, _DEFAULT_WORKERS), *goals.cpu_goals(runs))
    topic = backlog.fill(ground.kafka, "ingest-events-sdk", given.messages // 10)
    read, accepted = measure.arrived(ground, topic)
    report.progress(f"a loop around the SDK: {accepted:,} of {read:,} arrive")


def _ordinary(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare the same with a receiver of net/http, which spends as much as many receivers do."""
    wrk: list[float] = []
    with Sink(ground.folder, "-net-http") as sink:
        there = replace(ground, sink=sink)
        contenders = [consumer_fleet(_DEFAULT_WORKERS), go_forwarder()]
        runs = _rounds(
            given,
            report,
            contenders,
            _measured(given, there, _TOPIC),
            lambda: wrk.append(measure.ceiling(sink, seconds=3).rate),
        )
    report.speeds(runs, "1.3 KB, net/http receiver")
    report.add(*goals.limit_goals(runs, wrk, _DEFAULT_WORKERS, "1.3 KB, net/http receiver"))


def _secure(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare TLS with gzip."""
    ours = consumer_fleet(1, "--set", "upstream_compression=gzip")
    with Sink(ground.folder, tls=True) as sink:
        measured = _measured(given, replace(ground, sink=sink), _TOPIC)
        runs = _rounds(given, report, [ours, go_forwarder(gzip=True)], measured)
    report.speeds(runs, "https, gzip")
    report.add(goals.worker_cpu("https + gzip", 35, runs[OURS, 1]))


def _large(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare messages of 14 and 61 KB."""
    messages = given.messages // 10
    ours = consumer_fleet(1, "--set", "upstream_compression=none")
    for name, padding in _PADDING.items():
        topic = backlog.fill(ground.kafka, f"ingest-events-{padding}", messages, padding)
        measured = _measured(given, ground, topic, messages)
        runs = _rounds(given, report, [ours, go_forwarder()], measured)
        report.speeds(runs, name)
    report.add(goals.worker_cpu("61 KB", 45, runs[OURS, 1]))


def _filtered(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Measure raw envelopes of which one of two items, statsd, is left out."""
    messages = given.messages // 2
    values = backlog.envelopes(messages)
    topic = backlog.write(ground.kafka, "envelopes-statsd", values)
    measured = _measured(given, ground, topic, messages)
    runs = _rounds(given, report, [consumer_fleet(1, messages="envelopes")], measured)
    report.speeds(runs, "envelopes with statsd, which is left out")


def _destinations(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare two required destinations with one."""
    second = ground.sink.dsn[:-1] + "2"
    both = consumer_fleet(
        1,
        *("--saas-dsn", second, "--set", "store_use_relay_dsn_sample_rate=1"),
        copies=2,
    )
    single: list[Speed] = []
    double: list[Speed] = []
    for _ in range(given.runs):
        single.append(measure.speed(ground, consumer_fleet(1), _TOPIC, given.messages))
        double.append(measure.speed(ground, both, _TOPIC, given.messages, copies=2))
        report.progress(f"one {single[-1].rate:,.0f}/s, two {double[-1].rate / 2:,.0f}/s")
    report.add(goals.two_destinations(double, single))


def _far(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Measure a destination that answers after 20 ms, and what wrk gets of it."""
    messages = given.messages // 10
    topic = backlog.fill(ground.kafka, "ingest-events-far", messages)
    with Sink(ground.folder, "-delay", f"{_FAR_S}s") as sink:
        measured = _measured(given, replace(ground, sink=sink), topic, messages)
        runs = _rounds(given, report, [consumer_fleet(1)], measured)
        # Last: what it leaves on the way would count as the next one's.
        report.progress(f"wrk: {measure.ceiling(sink, seconds=3).rate:,.0f}/s")
    report.speeds(runs, "20 ms away")
    report.add(goals.far_away(runs[OURS, 1], _FAR_S))


def _topics(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Measure other topics, and a user's function that sets one member of a 14 KB event."""
    (ground.folder / "bench_rules.py").write_text(topics.RULES)
    rows = (
        ("events, 14 KB", "events", topics.events, 14_000),
        ("events, 61 KB", "events", topics.events, 61_000),
        ("ingest-transactions, 57 KB", "ingest-transactions", topics.ingest_transactions, 57_000),
        ("ingest-events, 14 KB", "ingest-events", topics.ingest_events, 14_000),
    )
    messages = given.messages // 10
    for title, name, made, size in rows:
        topic = backlog.write(ground.kafka, f"{name}-of-{size}", made(messages, size))
        ours = [consumer_fleet(1, messages=name)]
        if name == "ingest-events":
            changing = consumer_fleet(1, "--transform", "bench_rules:name_release")
            ours.append(replace(changing, name=f"{OURS}, with a transform"))
        runs = _rounds(given, report, ours, _measured(given, ground, topic, messages))
        report.speeds(runs, title)
    without, changed = runs.values()
    report.add(goals.transform_cost(changed, without))


def _attachments(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare attachments in chunks of 1 MiB with a loop that posts each message."""
    events = attachments.fill(ground, "attachments", given.attachment_gigabytes)

    def run(contender: Contender) -> Speed:
        return attachments.speed(ground, contender, "attachments", events)

    runs = _rounds(given, report, attachments.contenders(), run)
    report.speeds(runs, "ingest-attachments, chunks of 1 MiB", unit="MB")
    report.add(goals.attachments(runs[OURS, 1], runs[attachments.PLAIN, 1]))


def _flood(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Watch the memory while many gigabytes of attachments pass."""
    grown = attachments.memory(ground, given.flood_gigabytes, _START_WORKERS, report.progress)
    report.add(*goals.flood(grown))


def _transform(given: argparse.Namespace, report: Report, _ground: Ground) -> None:
    report.add(goals.transform(transform.measure(given.messages, given.runs)))


def _delivery(given: argparse.Namespace, report: Report, _ground: Ground) -> None:
    report.add(goals.delivery(measure.delivery(given.messages // 2, given.runs)))


def _latency(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    found = latency.measure(ground, given.seconds, _DEFAULT_WORKERS)
    report.progress(
        f"acknowledged by Kafka: p50 {found.acknowledged_p50:.2f} ms, p99 "
        f"{found.acknowledged_p99:.2f} ms; accepted after {latency.SLOW_MS:g} ms: "
        f"{counted(found.slow, 'message')}, {found.slow_at_kafka} of them slow at Kafka"
    )
    report.add(*goals.latency(found))


def _start(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    seconds = [measure.start(ground, _TOPIC, _START_WORKERS) for _ in range(given.starts)]
    report.add(goals.start(seconds, _START_WORKERS))


def _memory(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare a short run with a long one."""
    found = []
    for name, messages in (
        ("short", given.memory_messages // 40),
        ("long", given.memory_messages),
    ):
        topic = backlog.fill(ground.kafka, f"ingest-events-{name}", messages)
        found.append(measure.memory(ground, topic, messages, _START_WORKERS))
        report.memory(found[-1][0])
    (short, _), (long, halves) = found
    report.add(*goals.memory(short, long, halves))


def _several(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    """Compare the memory of nine consumers in one process with that of one; three have traffic."""
    busy = {
        "ingest-events": backlog.messages,
        "ingest-feedback-events": backlog.messages,
        "envelopes": backlog.envelopes,
    }
    messages = given.messages // 4
    topics = {name: f"several-{name}" for name in (*busy, *_IDLE)}
    for name, topic in topics.items():
        backlog.write(ground.kafka, topic, busy[name](messages) if name in busy else ())
    alone = {"ingest-events": backlog.fill(ground.kafka, "several-alone", messages)}
    sizes = []
    for chosen in (alone, topics):
        ground.sink.reset()
        accepted = messages * len(busy.keys() & chosen.keys())
        with start_several(ground, chosen, _START_WORKERS) as running:
            sizes.append(measure.total_pss(ground, running, accepted))
            running.signal(signal.SIGTERM)
            running.wait()
        report.progress(f"{counted(len(chosen), 'consumer')}: {sizes[-1] / 1024:.0f} MiB")
    report.add(goals.several(*sizes))


def _faults(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    plan = faults.Plan(given.fault_messages, given.kills, given.faults, given.seed)
    report.add(goals.faults(faults.measure(ground, plan)))


def _recordings(given: argparse.Namespace, report: Report, ground: Ground) -> None:
    runs = min(given.runs, 3)
    report.recordings(recordings.measure(ground.kafka, ground.folder, given.messages, runs))


_PARTS: Mapping[str, Callable[[argparse.Namespace, Report, Ground], None]] = MappingProxyType(
    {
        "speed": _speed,
        "ordinary": _ordinary,
        "secure": _secure,
        "large": _large,
        "filtered": _filtered,
        "topics": _topics,
        "attachments": _attachments,
        "destinations": _destinations,
        "far": _far,
        "transform": _transform,
        "delivery": _delivery,
        "latency": _latency,
        "start": _start,
        "memory": _memory,
        "several": _several,
        "faults": _faults,
        "recordings": _recordings,
        "flood": _flood,
    }
)


def _measured(
    given: argparse.Namespace, ground: Ground, topic: str, messages: int | None = None
) -> Callable[[Contender], Speed]:
    def run(contender: Contender) -> Speed:
        count = int((messages or given.messages) * contender.share)
        return measure.speed(ground, contender, topic, count)

    return run


def _rounds(
    given: argparse.Namespace,
    report: Report,
    contenders: Sequence[Contender],
    run: Callable[[Contender], Speed],
    after_round: Callable[[], None] = lambda: None,
) -> dict[tuple[str, int], list[Speed]]:
    """Run the contenders in turn, so that other load on the machine affects all alike."""
    runs: dict[tuple[str, int], list[Speed]] = {}
    for _ in range(given.runs):
        for contender in contenders:
            found = run(contender)
            workers = counted(contender.workers, "worker")
            report.progress(f"{contender.name}, {workers}: {found.rate:,.0f}/s")
            runs.setdefault((contender.name, contender.workers), []).append(found)
        after_round()
    return runs


if __name__ == "__main__":
    sys.exit(main())
