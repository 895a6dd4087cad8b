"""``consumer status``: where every consumer stands."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from consumers.commands.cluster_options import ClusterOptions, cluster_options
from consumers.commands.completion import complete_consumer

if TYPE_CHECKING:
    from consumers.status.findings import Finding, Judge
    from consumers.status.report import Report
    from consumers.status.sampler import Sampler

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
    from consumers.status.findings import Judge
    from consumers.status.sampler import Sampler
    from consumers.targets import registry_targets

    targets = registry_targets(names, cluster.options)
    judge = Judge(cluster.options.stall_timeout_s, frozenset(names))
    sampler = Sampler(cluster, targets, groups)
    if watch:
        from consumers.status.watch import Watch

        Watch(sampler, judge, interval, partitions=output["partitions"]).run()
        return
    with sampler:
        report, findings = _look(sampler, judge)
    if output["as_json"]:
        _print_json(report, findings)
    else:
        _print_table(report, findings, partitions=output["partitions"])
    if output["check"] and findings:
        from fleet.errors import EXIT_FINDINGS

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
    from consumers.status.document import document
    from consumers.status.findings import notes

    click.echo(json.dumps(document(report, findings, notes(report)), indent=2))


def _print_table(report: Report, findings: list[Finding], *, partitions: bool) -> None:
    from rich.console import Console

    from consumers.status.findings import notes
    from consumers.status.table import WIDTH, render

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH, no_color=True)
    # Uncropped: a command to copy may be longer than the line.
    console.print(render(report, findings, notes(report), partitions=partitions), crop=False)
