"""``consumer status``: where every consumer stands."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.live import Live
from rich.text import Text

from consumer_fleet.command_options import cluster_options, complete_consumer
from consumer_fleet.errors import KafkaUnreachable
from consumer_fleet.kafka.clients import rdkafka_log
from consumer_fleet.status.report import Judge, notes
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.status.table import WIDTH, render

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.status.report import Finding, Report
_EPILOG = """
LAG counts the messages that wait, BEHIND is the age of the oldest of them, and
LOSS IN is how soon retention may delete it: LOST where it has deleted some
already, ~ where the time is estimated from retention.bytes.

\b
Examples:
  consumer status
  consumer status --watch
  consumer status --consumer events --partitions
  consumer status --group my-group --json
  consumer status --check --consumer events || echo "look at it"
"""
_RATE_INTERVAL_S = 1.0
_MIN_INTERVAL_S = 0.2
_MAX_INTERVAL_S = 86_400
# A consumer commits once per second: one that seems to stand still gets this many looks more.
_FURTHER_LOOKS = 3


def _interval(_: click.Context, parameter: click.Parameter, seconds: float) -> float:
    # Not click's own range, which NaN is within.
    if not _MIN_INTERVAL_S <= seconds <= _MAX_INTERVAL_S:
        raise click.BadParameter(
            f"{seconds:g} is not within {_MIN_INTERVAL_S:g} to {_MAX_INTERVAL_S:,} seconds",
            param=parameter,
        )
    return seconds


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
@click.option("--partitions", is_flag=True, help="A row for each partition.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=float,
    callback=_interval,
    default=2.0,
    metavar="S",
    show_default=True,
    help="Seconds between looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--check", is_flag=True, help="Exit with 1 where something is wrong.")
@cluster_options
def status_command(
    cluster: ClusterOptions,
    names: tuple[str, ...],
    groups: tuple[str, ...],
    watch: bool,
    interval: float,
    **output: bool,
) -> None:
    """Show every consumer of this cluster: state, lag, rate, time to loss."""
    if watch and (output["as_json"] or output["check"]):
        raise click.UsageError("--watch goes on until Ctrl-C: not with --json or --check")
    from consumer_fleet.status.report import Judge
    from consumer_fleet.status.sampler import Sampler
    from consumer_fleet.targets import registry_targets

    targets = registry_targets(names, cluster.options)
    judge = Judge(cluster.options.stall_timeout_s, frozenset(names))
    sampler = Sampler(cluster, targets, groups)
    if watch:
        Watch(sampler, judge, interval, partitions=output["partitions"]).run()
        return
    with sampler:
        report, findings = _look(sampler, judge)
    if output["as_json"]:
        _print_json(report, findings)
    else:
        _print_table(report, findings, partitions=output["partitions"])
    if output["check"] and findings:
        from consumer_fleet.errors import EXIT_FINDINGS

        sys.exit(EXIT_FINDINGS)


def _look(sampler: Sampler, judge: Judge) -> tuple[Report, list[Finding]]:
    """Two looks a second apart where anybody consumes, so that there is a rate."""
    import time

    report = sampler.look()
    if any(status.group.members for status in report.consumers):
        for _ in range(1 + _FURTHER_LOOKS):
            time.sleep(max(0.0, report.at_s + _RATE_INTERVAL_S - time.time()))
            report = sampler.look()
            if all(finding.kind != "stalled" for finding in judge.findings(report)):
                break
    return report, judge.findings(report)


def _print_json(report: Report, findings: list[Finding]) -> None:
    from consumer_fleet.status.report import notes
    from consumer_fleet.status.table import document

    click.echo(json.dumps(document(report, findings, notes(report)), indent=2))


def _print_table(report: Report, findings: list[Finding], *, partitions: bool) -> None:
    from rich.console import Console

    from consumer_fleet.status.report import notes
    from consumer_fleet.status.table import WIDTH, render

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH, no_color=True)
    # Uncropped: a command to copy may be longer than the line.
    console.print(render(report, findings, notes(report), partitions=partitions), crop=False)


_TURN_S = 0.2


class Watch:
    """Looks from a thread of its own: a client that waits for an absent broker can't be
    interrupted, and Ctrl-C is to end at once. ``sampler`` belongs to that thread from here on.
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
        """Blocks until Ctrl-C. Raises what is not a passing absence of Kafka."""
        # A daemon: the interpreter doesn't wait at its end for a client that waits for a broker.
        looker = threading.Thread(target=self._look_on, name="status", daemon=True)
        looker.start()
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
            looker.join(1.0)
        if self._error is not None:
            raise self._error

    def _look_on(self) -> None:
        try:
            self._look_until_stopped()
        except Exception as error:
            self._error = error  # raised again by the main thread
            self._fresh.set()
        finally:
            self._sampler.close()

    def _look_until_stopped(self) -> None:
        while not self._stop.is_set():
            try:
                report = self._sampler.look()
                findings = self._judge.findings(report)
                self._table = render(report, findings, notes(report), partitions=self._partitions)
                self._away_since = None
            except KafkaUnreachable as error:
                self._away_since = self._away_since or datetime.now()
                self._why = str(error)
            self._fresh.set()
            self._stop.wait(self._interval_s)

    def _frame(self) -> RenderableType:
        now = datetime.now().strftime("%H:%M:%S")
        if self._away_since is None:
            head = Text(f"consumer status at {now}, Ctrl-C ends", style="dim")
        else:
            since = self._away_since.strftime("%H:%M:%S")
            head = Text(f"Kafka is away since {since}, trying again ({now}): ", style="bold red")
            head.append(self._why, style="not bold")
        return Lines(head, self._table if self._table is not None else Text(""))

    @contextmanager
    def _screen(self) -> Iterator[Callable[[RenderableType], None]]:
        """What shows a frame: the terminal's second screen, which leaves the scrollback alone and
        whose last frame is printed at the end; elsewhere, frame by frame.
        """
        console = Console()
        if not console.is_terminal:
            yield Console(width=WIDTH, no_color=True).print
            return
        try:
            # librdkafka's lines would tear the screen; it says itself that Kafka is away.
            rdkafka_log.disabled = True
            with Live(console=console, screen=True, auto_refresh=False) as live:
                yield lambda frame: live.update(frame, refresh=True)
        finally:
            rdkafka_log.disabled = False
            console.print(self._frame())
