"""``consumer offsets``: where a group stands in a topic, and moving it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import cluster_options, complete_consumer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.kafka.offset_spec import OffsetSpec
    from consumer_fleet.offsets.plan import Move, Tally
    from consumer_fleet.targets import Target
_EPILOG = """
\b
Examples:
  consumer offsets show --consumer events
  consumer offsets reset --consumer events --to earliest
  consumer offsets reset --consumer events --to earliest --execute
"""
_SHOW_EPILOG = """
\b
Examples:
  consumer offsets show --consumer events
  consumer offsets show --group my-group --topic my-topic --json
"""
_RESET_EPILOG = """
LOST are messages that are on the broker and would be skipped, REPEATED those
that would be sent again, GONE offsets that retention has deleted already.
Nothing moves without --execute.

\b
Examples:
  A consumer that ends with "out of range": go on with the oldest message left
    consumer offsets reset --consumer events --to earliest
    consumer offsets reset --consumer events --to earliest --execute
  Send the last two hours again
    consumer offsets reset --consumer events --to -2h
  Give up what waits, from now on only
    consumer offsets reset --consumer events --to latest
  Step over one message
    consumer offsets reset --consumer events --partition 3 --to +1
  Any group and topic
    consumer offsets reset --group my-group --topic my-topic \\
        --to 2026-01-31T12:00
"""
_NO_WIDTH = 10_000


def _target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--consumer`` (the command's ``name``) and ``--group``: see ``one_target``."""
    for option in (
        click.option("--group", metavar="G", help="Consumer group; default the consumer's own."),
        click.option(
            "--consumer",
            "--topic",
            "name",
            metavar="NAME",
            shell_complete=complete_consumer,
            help="A consumer, or a topic.",
        ),
    ):
        command = option(command)
    return command


@click.group("offsets", epilog=_EPILOG)
def offsets_command() -> None:
    """Show where a group stands in a topic, and move it."""


@offsets_command.command("show", epilog=_SHOW_EPILOG)
@_target_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@cluster_options
def show_command(
    cluster: ClusterOptions, name: str | None, group: str | None, as_json: bool
) -> None:
    """Show each partition: what the broker holds, and where the group stands."""
    from consumer_fleet.errors import ConfigurationError
    from consumer_fleet.offsets.table import show_document, show_table
    from consumer_fleet.status.sampler import Sampler
    from consumer_fleet.targets import one_target

    target = one_target(name, group, cluster.options)
    with Sampler(cluster, [target], ()) as sampler:
        report = sampler.look()
    (status,) = report.consumers
    if not status.topic_exists:
        raise ConfigurationError(f"topic {target.topic!r} does not exist on this cluster")
    if as_json:
        click.echo(json.dumps(show_document(status, report.at_s), indent=2))
        return
    click.echo(f"group {target.group} ({status.group.state}) on topic {target.topic}")
    _print(show_table(status, report.at_s))


@offsets_command.command("reset", epilog=_RESET_EPILOG)
@_target_options
@click.option(
    "--to",
    "place_text",
    required=True,
    metavar="PLACE",
    help="earliest, latest, an offset, a time (2026-01-31T12:00, UTC), -2h, +N or -N messages.",
)
@click.option("--partition", "partitions", type=int, multiple=True, help="Only this partition.")
@click.option("--execute", is_flag=True, help="Move the group; without it, only show.")
@click.option("--reserved-group", is_flag=True, help="Move a group of Sentry's or Snuba's own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@cluster_options
def reset_command(
    cluster: ClusterOptions,
    name: str | None,
    group: str | None,
    place_text: str,
    partitions: tuple[int, ...],
    **flags: bool,
) -> None:
    """Show what moving a group would lose or repeat, and do it with --execute.

    The group must have no members: stop its consumers first.
    """
    import time

    from consumer_fleet.kafka.groups import Groups
    from consumer_fleet.kafka.offset_spec import parse_offset_spec
    from consumer_fleet.offsets.plan import plan_reset, tally
    from consumer_fleet.targets import one_target

    target = one_target(name, group, cluster.options)
    place = parse_offset_spec(place_text, time.time(), relative=True)
    if flags["execute"] and not flags["reserved_group"]:
        _refuse_reserved(target.group)
    with Groups(cluster.kafka) as groups:
        moves = plan_reset(groups, target, place, partitions, may_be_new=group is None)
        affected = {(target.topic, move.partition): move.affected for move in moves}
        tallies = tally(cluster.kafka, affected)
        if flags["execute"]:
            from consumer_fleet.offsets.plan import confirm, execute

            execute(groups, target, moves)
            # Before the answer is checked: the group has moved, whatever has become of it since.
            _audit(target, moves, tallies)
            confirm(groups, target, moves)
    if flags["as_json"]:
        from consumer_fleet.offsets.table import reset_document

        found = reset_document(target, place, moves, tallies, executed=flags["execute"])
        click.echo(json.dumps(found, indent=2))
    else:
        _print_reset(target, place, moves, tallies, executed=flags["execute"])


def _refuse_reserved(group: str) -> None:
    from consumer_fleet.bootstrap.validate_snuba import is_reserved_group

    if is_reserved_group(group):
        raise click.UsageError(
            f"group {group!r} is one that Sentry or Snuba consumes with: what is skipped, Sentry "
            "loses. To move it all the same, add --reserved-group"
        )


def _audit(target: Target, moves: list[Move], tallies: Mapping[tuple[str, int], Tally]) -> None:
    import structlog

    from consumer_fleet.command_options import user_name
    from consumer_fleet.offsets.table import move_row

    log = structlog.get_logger(__name__)
    for move in moves:
        if not move.moves:
            continue
        row = move_row(move, tallies[target.topic, move.partition])
        # A warning, so that it is in the log at every level that people run with.
        log.warning(
            "offsets_reset",
            user=user_name(),
            group=target.group,
            topic=target.topic,
            partition=move.partition,
            from_offset=move.committed,
            to_offset=move.to,
            lost=row["lost"],
            repeated=row["repeated"],
            gone=move.gone,
            exact=row["exact"],
        )


def _print_reset(
    target: Target,
    place: OffsetSpec,
    moves: list[Move],
    tallies: Mapping[tuple[str, int], Tally],
    *,
    executed: bool,
) -> None:
    from consumer_fleet.offsets.table import reset_table, total

    click.echo(f"group {target.group} on topic {target.topic}, to {place}")
    _print(reset_table(target.topic, moves, tallies))
    if any(move.clamped for move in moves):
        click.echo("* What was asked for is not on the broker: the nearest offset that is.")
    click.echo(total(moves, target.topic, tallies))
    if executed:
        click.echo("Done: the group stands there now.")
    elif any(move.moves for move in moves):
        click.echo("Nothing was moved. To do it, add --execute.")
    else:
        click.echo("The group stands there already.")


def _print(table: Table) -> None:
    """As wide as it is: on a narrow terminal lines wrap, since half an offset is a wrong one."""
    from rich.console import Console

    Console(width=_NO_WIDTH).print(table)
