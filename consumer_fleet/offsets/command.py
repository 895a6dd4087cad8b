"""``consumer offsets``: show a group's position in a topic, and move it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import (
    CONNECTION,
    CommandGroup,
    complete_consumer,
    program_options,
    resolve_cluster,
    takes,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import OptionsRequest
    from consumer_fleet.offsets.plan import Move
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
LOST are stored messages that would be skipped, REPEATED those that would be
sent again, GONE offsets that retention has already deleted.
Nothing moves without --execute.

\b
Examples:
  Fix a consumer that ends with "out of range": continue at the oldest message
    consumer offsets reset --consumer events --to earliest
    consumer offsets reset --consumer events --to earliest --execute
  Send the last two hours again
    consumer offsets reset --consumer events --to -2h
  Skip waiting messages
    consumer offsets reset --consumer events --to latest
  Skip one message
    consumer offsets reset --consumer events --partition 3 --to +1
  Any group and topic
    consumer offsets reset --group my-group --topic my-topic \\
        --to 2026-01-31T12:00
"""


def _target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--consumer`` (the request's ``name``) and ``--group``: see ``one_target``."""
    for option in (
        click.option("--group", metavar="G", help="Consumer group; default: the consumer's own."),
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


@click.group("offsets", cls=CommandGroup, epilog=_EPILOG)
def offsets_command() -> None:
    """Show a group's position in a topic, and move it."""


@dataclass(frozen=True, slots=True)
class ShowRequest:
    options: OptionsRequest
    name: str | None
    group: str | None
    as_json: bool


@offsets_command.command("show", epilog=_SHOW_EPILOG)
@_target_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@program_options(*CONNECTION)
@takes(ShowRequest)
def show_command(request: ShowRequest) -> None:
    """Show each partition: the stored offsets, and the group's position."""
    from consumer_fleet.errors import ConfigurationError
    from consumer_fleet.offsets.table import print_status
    from consumer_fleet.status.sampler import Sampler
    from consumer_fleet.targets import one_target

    cluster = resolve_cluster(request.options)
    target = one_target(request.name, request.group, cluster.options)
    with Sampler(cluster, [target], ()) as sampler:
        report = sampler.sample()
    (status,) = report.consumers
    if not status.topic_exists:
        raise ConfigurationError(f"topic {target.topic!r} does not exist on this cluster")
    print_status(status, report.at_s, as_json=request.as_json)


@dataclass(frozen=True, slots=True)
class ResetRequest:
    options: OptionsRequest
    name: str | None
    group: str | None
    to: str
    partitions: tuple[int, ...]
    execute: bool
    reserved_group: bool
    as_json: bool


@offsets_command.command("reset", epilog=_RESET_EPILOG)
@_target_options
@click.option(
    "--to",
    required=True,
    metavar="OFFSET",
    help="earliest, latest, an offset, a time (2026-01-31T12:00, UTC), -2h, +N or -N messages.",
)
@click.option("--partition", "partitions", type=int, multiple=True, help="Only this partition.")
@click.option("--execute", is_flag=True, help="Move the group; without it, only show the plan.")
@click.option("--reserved-group", is_flag=True, help="Allow a group of Sentry or Snuba.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@program_options(*CONNECTION)
@takes(ResetRequest)
def reset_command(request: ResetRequest) -> None:
    """Show what moving a group loses or repeats, and move it with --execute.

    The group must not have active members: stop its consumers first.
    """
    reset(resolve_cluster(request.options), request)


def reset(cluster: ClusterOptions, request: ResetRequest) -> None:
    import time

    from consumer_fleet.kafka.groups import Groups
    from consumer_fleet.kafka.offset_spec import parse_offset_spec
    from consumer_fleet.offsets.plan import confirm, counted_moves, execute, plan_reset
    from consumer_fleet.offsets.table import print_reset
    from consumer_fleet.targets import one_target

    target = one_target(request.name, request.group, cluster.options)
    to = parse_offset_spec(request.to, time.time(), relative=True)
    if request.execute and not request.reserved_group:
        _refuse_reserved(target.group)
    may_be_new = request.group is None
    with Groups(cluster.kafka) as groups:
        moves = plan_reset(groups, target, to, request.partitions, may_be_new=may_be_new)
        moves = counted_moves(cluster.kafka, target, moves)
        if request.execute:
            execute(groups, target, moves)
            # Before confirming: the group has moved, whatever has happened to it since.
            _audit(target, moves)
            confirm(groups, target, moves)
    print_reset(target, to, moves, executed=request.execute, as_json=request.as_json)


def _refuse_reserved(group: str) -> None:
    from consumer_fleet.bootstrap.validate_snuba import is_reserved_group

    if is_reserved_group(group):
        raise click.UsageError(
            f"group {group!r} is used by Sentry or Snuba: Sentry loses the messages that are "
            "skipped. To move it anyway, add --reserved-group"
        )


def _audit(target: Target, moves: list[Move]) -> None:
    import structlog

    from consumer_fleet.command_options import user_name

    log = structlog.get_logger(__name__)
    for move in moves:
        if not move.moves:
            continue
        # A warning, so that every usual log level includes it.
        log.warning(
            "offsets_reset",
            user=user_name(),
            group=target.group,
            topic=target.topic,
            partition=move.partition,
            from_offset=move.committed,
            to_offset=move.to,
            lost=move.lost,
            repeated=move.repeated_messages,
            gone=move.gone,
            exact=move.count.exact,
        )
