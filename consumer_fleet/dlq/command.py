"""``consumer dlq``: look at dead letters, replay them, keep them in a file, delete them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import cluster_options, complete_consumer
from consumer_fleet.dlq.list import list_command
from consumer_fleet.dlq.options import (
    Topics,
    cluster_and_file_options,
    dead_letters_of,
    filter_options,
    place_of,
    selection_of,
    topic_options,
)
from consumer_fleet.dlq.replay_command import dlq_replay_command

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.dlq.purge import PurgePlan
_EPILOG = """
\b
Examples:
  consumer dlq list --topic ingest-events
  consumer dlq list --topic ingest-events --each --reason invalid_msgpack
  consumer dlq show --topic ingest-events 41
  consumer dlq replay --topic ingest-events --dry-run
  consumer dlq replay --topic ingest-events --transform fix:run --yes
  consumer dlq export --topic ingest-events -o dead.recording
  consumer dlq purge --topic ingest-events --before -30d

A PLACE is earliest, latest, an offset, a time (2026-01-31T12:00, UTC) or
-15m, -2h, -3d. The brokers are named as for every other command.
"""
_SHOW_EPILOG = """
\b
Examples:
  consumer dlq show --topic ingest-events 41
  consumer dlq show --topic ingest-events 0/41 --raw > 41.msgpack
  consumer dlq show --file dead.recording 41
"""
_EXPORT_EPILOG = """
\b
Examples:
  consumer dlq export --topic ingest-events -o dead.recording
  consumer dlq export --topic ingest-events -o dead.recording --force \\
      --reason invalid_msgpack --since -1d
"""
_PURGE_EPILOG = """
\b
Examples:
  consumer dlq purge --topic ingest-events --before -30d
  consumer dlq purge --topic ingest-events --before -30d --yes
  consumer dlq purge --dlq-topic shared-dlq --all --yes
"""


@click.group("dlq", epilog=_EPILOG)
def dlq_command() -> None:
    """Dead letters: list, show, replay, export and purge them."""


dlq_command.add_command(list_command)
dlq_command.add_command(dlq_replay_command)


# -- show -----------------------------------------------------------------------------------------


@dlq_command.command("show", epilog=_SHOW_EPILOG)
@click.argument("where", metavar="OFFSET|PARTITION/OFFSET")
@topic_options
@cluster_and_file_options
@click.option(
    "--through",
    metavar="CONSUMER",
    shell_complete=complete_consumer,
    help="Whose codec to ask; default by its origin.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--raw", is_flag=True, help="Only the message's value, byte for byte.")
def show_command(
    cluster: ClusterOptions,
    where: str,
    topics: Topics,
    file: Path | None,
    through: str | None,
    as_json: bool,
    raw: bool,
) -> None:
    """Show one dead letter: why, its headers and bytes, and what its codec says now.

    Secrets are hidden in the headers and where the message is shown decoded, but not in its bytes
    and not in what --json has of them.
    """
    from consumer_fleet.consumers import registry
    from consumer_fleet.dlq import show
    from consumer_fleet.dlq.export import find_in_file, find_in_topic
    from consumer_fleet.dlq.letters import consumer_of

    if as_json and raw:
        raise click.UsageError("--json and --raw exclude each other")
    if file is not None:
        letter, name, named = find_in_file(file, where)
    else:
        place = dead_letters_of(topics, cluster)
        letter, name, named = find_in_topic(cluster.kafka, place, where)
    if raw:
        click.echo(letter.record.value or b"", nl=False)
        return
    origin = letter.origin.topic if letter.origin else None
    consumer = consumer_of(origin, named, cluster.options)
    if through is not None:
        consumer = registry.get(through).name
    if as_json:
        click.echo(json.dumps(show.as_document(letter, name, consumer)))
        return
    for line in show.as_lines(letter, name, consumer):
        click.echo(line)


# -- export ---------------------------------------------------------------------------------------


@dlq_command.command("export", epilog=_EXPORT_EPILOG)
@topic_options
@cluster_options
@filter_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where."
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def export_command(
    cluster: ClusterOptions,
    topics: Topics,
    output: Path,
    force: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write dead letters to a file, whole. Joins no group and moves none."""
    from consumer_fleet.dlq.export import export
    from consumer_fleet.dlq.replay_position import standing
    from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST

    place = dead_letters_of(topics, cluster)
    standing(cluster.kafka, place)  # says what there may be instead, where there is no such topic
    tally = export(
        cluster.kafka,
        place,
        selection_of(chosen["reasons"], chosen["origin"]),
        output,
        span=(place_of(chosen["since"], EARLIEST), place_of(chosen["until"], LATEST)),
        overwrite=force,
    )
    if as_json:
        document = {
            "topic": place.name,
            "file": str(output),
            "dead_letters": tally.total,
            "reasons": tally.as_document(),
        }
        click.echo(json.dumps(document))
        return
    reasons = f": {tally}" if tally.total else ""
    click.echo(f"Exported {tally.counted} of {place.name} to {output}{reasons}")


# -- purge ----------------------------------------------------------------------------------------


@dlq_command.command("purge", epilog=_PURGE_EPILOG)
@topic_options
@cluster_options
@click.option("--before", metavar="PLACE", help="Delete all that is before this place.")
@click.option("--all", "everything", is_flag=True, help="Delete all that is there now.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def purge_command(
    cluster: ClusterOptions,
    topics: Topics,
    before: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete dead letters for good, from the oldest up to a place.

    Kafka deletes up to an offset and nothing else: there is no choice by reason.
    """
    from consumer_fleet.dlq.purge import plan_purge, purge
    from consumer_fleet.kafka.offset_spec import LATEST

    if everything == (before is not None):
        raise click.UsageError("give either --before PLACE or --all")
    place = dead_letters_of(topics, cluster)
    plan = plan_purge(cluster.kafka, place, place_of(before, LATEST))
    if not as_json:
        _describe(plan, place.name, place.group)
    executed = yes and plan.tally.total > 0
    if executed:
        purge(cluster.kafka, place, plan)
    if as_json:
        document = {
            "topic": place.name,
            "dead_letters": plan.tally.total,
            "reasons": plan.tally.as_document(),
            "before": {str(index): end for index, end in sorted(plan.before.items())},
            "group": place.group,
            "never_replayed": plan.never_replayed,
            "executed": executed,
        }
        click.echo(json.dumps(document))
    elif executed:
        click.echo(f"Deleted {plan.tally.total:,}.")
    elif plan.tally.total:
        click.echo("Nothing is deleted: add --yes to do it.")


def _describe(plan: PurgePlan, name: str, group: str) -> None:
    if not plan.tally.total:
        click.echo(f"Nothing to purge in {name}.")
        return
    click.echo(f"{plan.tally.counted} of {name}: {plan.tally}")
    for index, end in sorted(plan.before.items()):
        click.echo(f"  partition {index}: all before offset {end:,}")
    if plan.never_replayed:
        click.echo(
            f"{plan.never_replayed:,} of them were never replayed, says group {group}.\n"
            f"  keep them first:  consumer dlq export --dlq-topic {name} -o FILE"
        )
