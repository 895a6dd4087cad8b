"""``consumer status``: the state of every consumer."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from time import sleep, time
from typing import TYPE_CHECKING

import click

from consumer_fleet.command_options import (
    CONNECTION,
    complete_consumer,
    program_options,
    resolve_cluster,
    takes,
)
from consumer_fleet.errors import EXIT_FINDINGS

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import OptionsRequest
    from consumer_fleet.status.report import Issue, Judge, Report
    from consumer_fleet.status.sampler import Sampler

_EPILOG = """
LAG counts the waiting messages, BEHIND is the age of the oldest of them, and
LOSS IN is how soon retention may delete it: LOST if it has already deleted
some, ~ if the time is estimated from retention.bytes.

\b
Examples:
  consumer status
  consumer status --watch
  consumer status --serve 8791
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


def _address(_: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    from consumer_fleet.bootstrap.parsing import listen_address

    try:
        return None if text is None else listen_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from error


@dataclass(frozen=True, slots=True)
class StatusRequest:
    options: OptionsRequest
    names: tuple[str, ...]
    groups: tuple[str, ...]
    partitions: bool
    watch: bool
    serve: str | None
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
    "--serve",
    metavar="H:P",
    callback=_address,
    help="Show it on a web page at PORT or HOST:PORT, until Ctrl-C.",
)
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
    from rich.console import Console

    from consumer_fleet.status.report import Judge, notes
    from consumer_fleet.status.table import WIDTH, document, render
    from consumer_fleet.status.watch import Watch

    endless = "--watch" if request.watch else "--serve" if request.serve is not None else None
    if endless is not None and (request.as_json or request.check):
        raise click.UsageError(
            f"{endless} runs until Ctrl-C: it can't be combined with --json, --check"
        )
    if request.watch and request.serve is not None:
        raise click.UsageError("--watch and --serve exclude each other")
    cluster = resolve_cluster(request.options)
    judge = Judge(cluster.options.stall_timeout_s, frozenset(request.names))
    sampler = open_sampler(cluster, request.names, request.groups)
    if request.watch:
        Watch(sampler, judge, request.interval, partitions=request.partitions).run()
        return
    if request.serve is not None:
        from consumer_fleet.status.serve import Serving

        Serving(sampler, judge, request.interval).run(request.serve)
        return
    with sampler:
        report, issues = _observe(sampler, judge)
    if request.as_json:
        click.echo(json.dumps(document(report, issues, notes(report, issues)), indent=2))
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH, no_color=True)
        table = render(report, issues, notes(report, issues), partitions=request.partitions)
        # Uncropped: a command to copy may be longer than the line.
        console.print(table, crop=False)
    if request.check and issues:
        sys.exit(EXIT_FINDINGS)


def open_sampler(
    cluster: ClusterOptions, names: tuple[str, ...], groups: tuple[str, ...]
) -> Sampler:
    """A sampler of these consumers, or of all, of groups under other names, and of these groups."""
    from consumer_fleet.status.own_groups import OwnGroups
    from consumer_fleet.status.sampler import Sampler
    from consumer_fleet.targets import registry_targets

    return Sampler(
        cluster,
        registry_targets(names, cluster.options),
        groups,
        own_groups=OwnGroups(str(cluster.kafka["client.id"])),
        is_everywhere=not names,
    )


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
