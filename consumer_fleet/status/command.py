"""``consumer status``: the state of every consumer."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import sleep, time

import click
from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.live import Live
from rich.text import Text

from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.command_options import (
    CONNECTION,
    complete_consumer,
    program_options,
    resolve_cluster,
    takes,
)
from consumer_fleet.errors import EXIT_FINDINGS, KafkaUnreachable
from consumer_fleet.kafka.clients import rdkafka_log
from consumer_fleet.status.report import Issue, Judge, Report, notes
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.status.table import WIDTH, document, render
from consumer_fleet.targets import registry_targets

_EPILOG = """
LAG counts the waiting messages, BEHIND is the age of the oldest of them, and
LOSS IN is how soon retention may delete it: LOST if it has already deleted
some, ~ if the time is estimated from retention.bytes.

\b
Examples:
  consumer status
  consumer status --watch
  consumer status --consumer events --partitions
  consumer status --group my-group --json
  consumer status --check --consumer events || echo "check events"
"""
_RATE_INTERVAL_S = 1.0
_MIN_INTERVAL_S = 0.2
_MAX_INTERVAL_S = 86_400
# A consumer commits once per second: one that seems stalled is sampled this many times more.
_FURTHER_SAMPLES = 3


def _interval(_: click.Context, parameter: click.Parameter, seconds: float) -> float:
    # Not click's own range, which includes NaN.
    if not _MIN_INTERVAL_S <= seconds <= _MAX_INTERVAL_S:
        raise click.BadParameter(
            f"{seconds:g} is not between {_MIN_INTERVAL_S:g} and {_MAX_INTERVAL_S:,} seconds",
            param=parameter,
        )
    return seconds


@dataclass(frozen=True, slots=True)
class StatusRequest:
    options: OptionsRequest
    names: tuple[str, ...]
    groups: tuple[str, ...]
    partitions: bool
    watch: bool
    interval: float
    as_json: bool
    check: bool


@click.command("status", epilog=_EPILOG)
@click.option(
    "--consumer",
    "--topic",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_consumer,
    help="Only this consumer.",
)
@click.option("--group", "groups", multiple=True, metavar="G", help="Show this group as well.")
@click.option("--partitions", is_flag=True, help="Add a row for each partition.")
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C.")
@click.option(
    "--interval",
    type=float,
    callback=_interval,
    default=2.0,
    metavar="S",
    show_default=True,
    help="Seconds between refreshes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--check", is_flag=True, help="Exit with 1 if there is an issue.")
@program_options(*CONNECTION)
@takes(StatusRequest)
def status_command(request: StatusRequest) -> None:
    """Show every consumer of this cluster: state, lag, rate, time to loss."""
    if request.watch and (request.as_json or request.check):
        raise click.UsageError(
            "--watch runs until Ctrl-C: it can't be combined with --json, --check"
        )
    cluster = resolve_cluster(request.options)
    targets = registry_targets(request.names, cluster.options)
    judge = Judge(cluster.options.stall_timeout_s, frozenset(request.names))
    sampler = Sampler(cluster, targets, request.groups)
    if request.watch:
        Watch(sampler, judge, request.interval, partitions=request.partitions).run()
        return
    with sampler:
        report, issues = _observe(sampler, judge)
    if request.as_json:
        click.echo(json.dumps(document(report, issues, notes(report)), indent=2))
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH, no_color=True)
        table = render(report, issues, notes(report), partitions=request.partitions)
        # Uncropped: a command to copy may be longer than the line.
        console.print(table, crop=False)
    if request.check and issues:
        sys.exit(EXIT_FINDINGS)


def _observe(sampler: Sampler, judge: Judge) -> tuple[Report, list[Issue]]:
    """Two samples a second apart if a group has members, so that there is a rate."""
    report = sampler.sample()
    if any(status.group.members for status in report.consumers):
        for _ in range(1 + _FURTHER_SAMPLES):
            sleep(max(0.0, report.at_s + _RATE_INTERVAL_S - time()))
            report = sampler.sample()
            if all(issue.kind != "stalled" for issue in judge.issues(report)):
                break
    return report, judge.issues(report)


_TURN_S = 0.2


class Watch:
    """Samples in a thread of its own: a client that waits for an absent broker can't be
    interrupted, and Ctrl-C must end at once. ``sampler`` belongs to that thread from here on.
    """

    def __init__(
        self, sampler: Sampler, judge: Judge, interval_s: float, *, partitions: bool
    ) -> None:
        self._sampler = sampler
        self._judge = judge
        self._interval_s = interval_s
        self._partitions = partitions
        self._stop = threading.Event()
        self._fresh = threading.Event()
        self._error: Exception | None = None
        self._table: RenderableType | None = None
        self._away_since: datetime | None = None
        self._why = ""

    def run(self) -> None:
        """Block until Ctrl-C. Raises any error but an absence of Kafka, which may pass."""
        # A daemon: the interpreter must not wait for a client that waits for a broker.
        thread = threading.Thread(target=self._keep_sampling, name="status", daemon=True)
        thread.start()
        try:
            with self._screen() as show:
                while self._error is None:
                    if self._fresh.wait(_TURN_S):
                        self._fresh.clear()
                        show(self._frame())
        except KeyboardInterrupt:
            pass
        finally:
            self._stop.set()
            thread.join(1.0)
        if self._error is not None:
            raise self._error

    def _keep_sampling(self) -> None:
        try:
            self._sample_until_stopped()
        except Exception as error:
            self._error = error  # raised again by the main thread
            self._fresh.set()
        finally:
            self._sampler.close()

    def _sample_until_stopped(self) -> None:
        while not self._stop.is_set():
            try:
                report = self._sampler.sample()
                issues = self._judge.issues(report)
                self._table = render(report, issues, notes(report), partitions=self._partitions)
                self._away_since = None
            except KafkaUnreachable as error:
                self._away_since = self._away_since or datetime.now()
                self._why = str(error)
            self._fresh.set()
            self._stop.wait(self._interval_s)

    def _frame(self) -> RenderableType:
        now = datetime.now().strftime("%H:%M:%S")
        if self._away_since is None:
            head = Text(f"consumer status at {now}, Ctrl-C to stop", style="dim")
        else:
            since = self._away_since.strftime("%H:%M:%S")
            head = Text(
                f"No connection to Kafka since {since}, retrying ({now}): ", style="bold red"
            )
            head.append(self._why, style="not bold")
        return Lines(head, self._table if self._table is not None else Text(""))

    @contextmanager
    def _screen(self) -> Iterator[Callable[[RenderableType], None]]:
        """Yield a function that shows a frame: on the terminal's alternate screen, which leaves the
        scrollback alone and whose last frame is printed at the end; elsewhere, frame by frame.
        """
        console = Console()
        if not console.is_terminal:
            yield Console(width=WIDTH, no_color=True).print
            return
        try:
            # librdkafka's lines would disturb the screen, which reports a lost connection itself.
            rdkafka_log.disabled = True
            with Live(console=console, screen=True, auto_refresh=False) as live:
                yield lambda frame: live.update(frame, refresh=True)
        finally:
            rdkafka_log.disabled = False
            console.print(self._frame())
