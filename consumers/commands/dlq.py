"""``consumer dlq``: look at dead letters, replay them, keep them in a file, delete them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumers.commands.cluster_options import ClusterOptions, cluster_options
from consumers.commands.completion import complete_consumer
from consumers.commands.dlq_options import (
    Topics,
    cluster_and_file_options,
    filter_options,
    place_of,
    selection_of,
    topic_options,
)
from consumers.commands.dlq_replay import dlq_replay_command

if TYPE_CHECKING:
    from consumers.dlq.letters import Letter
    from consumers.dlq.place import DeadLetterTopic

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
# A pipe has no width: nothing is cut, so that grep finds whole values.
_NO_WIDTH = 100_000
_MIN_WIDTH = 80


@click.group("dlq", epilog=_EPILOG)
def dlq_command() -> None:
    """Dead letters: list, show, replay, export and purge them."""


dlq_command.add_command(dlq_replay_command)


# -- list -----------------------------------------------------------------------------------------


@dlq_command.command("list")
@topic_options
@cluster_and_file_options
@filter_options
@click.option("--each", is_flag=True, help="A line for each message, not a table by reason.")
@click.option("--limit", metavar="N", type=click.IntRange(0), help="With --each; default 100.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def list_command(
    cluster: ClusterOptions,
    topics: Topics,
    file: Path | None,
    each: bool,
    limit: int | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Count the dead letters by reason, or list each of them.

    Joins no group. Reads a file of them (--file) as well: an export, or what a replay rejected.
    """
    from consumers.dlq import listing
    from consumers.dlq.tally import Tally

    if limit is not None and not each:
        raise click.UsageError("--limit goes with --each")
    most = 100 if limit is None else limit
    tally, lines = Tally(), 0
    documents: list[dict[str, Any]] = []
    with ExitStack() as stack:
        letters, name, document = _open(stack, cluster, topics, file, chosen)
        if each and not as_json:
            click.echo(listing.head())
        for letter in letters:
            tally.add(letter)
            lines += 1
            if not each or lines > most:
                continue
            if as_json:
                documents.append(listing.letter_document(letter))
            else:
                click.echo(listing.line(letter, _width()))
    if as_json:
        content = documents if each else listing.as_document(tally)
        key = "dead_letters" if each else "reasons"
        click.echo(json.dumps({**document, "total": tally.total, key: content}))
    elif each:
        if lines > most:
            click.echo(f"{lines - most:,} more: --limit {lines} lists them all", err=True)
    else:
        _print_table(name, document, tally)


def _print_table(name: str, document: dict[str, Any], tally: Any) -> None:
    from consumers.dlq import listing

    if not tally.total:
        click.echo(f"No dead letters in {name}.")
        return
    left = document.get("not_replayed")
    not_replayed = "" if left is None else f", {left:,} of all are not replayed"
    click.echo(f"{tally.total:,} dead letters in {name}{not_replayed}\n")
    for line in listing.table(tally, _width()):
        click.echo(line)


def _open(
    stack: ExitStack,
    cluster: ClusterOptions,
    topics: Topics,
    file: Path | None,
    chosen: dict[str, Any],
) -> tuple[Iterable[Letter], str, dict[str, Any]]:
    """The chosen letters, the name of where they are, and what JSON says of that."""
    from consumers.dlq.letters import LettersTopic, letters_in
    from consumers.dlq.standing import standing
    from fleet.kafka.places import EARLIEST, LATEST
    from fleet.recording.reader import Recording

    selection = selection_of(chosen["reasons"], chosen["origin"])
    if file is not None:
        if chosen["since"] is not None or chosen["until"] is not None:
            raise click.UsageError("--since and --until name places of a topic, not of a file")
        found: Iterable[Letter] = letters_in(Recording(file))
        return filter(selection.takes, found), str(file), {"file": str(file)}
    place = _place(cluster, topics)
    stands = standing(cluster.kafka, place)
    start = place_of(chosen["since"], EARLIEST)
    end = place_of(chosen["until"], LATEST)
    reader = stack.enter_context(LettersTopic(cluster.kafka, place.name, start=start, end=end))
    document = {"topic": place.name, "group": place.group, "not_replayed": stands.left}
    return filter(selection.takes, reader.letters()), place.name, document


def _place(cluster: ClusterOptions, topics: Topics) -> DeadLetterTopic:
    from consumers.dlq.place import dead_letter_topic

    return dead_letter_topic(*topics, cluster.options)


def _width() -> int:
    """Of the terminal; a narrow one wraps rather than loses what matters."""
    if not sys.stdout.isatty():
        return _NO_WIDTH
    return max(_MIN_WIDTH, shutil.get_terminal_size((_MIN_WIDTH, 24)).columns)


# -- show -----------------------------------------------------------------------------------------


@dlq_command.command("show")
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

    Secrets are hidden where the message is shown decoded, but not in its bytes.
    """
    from consumers import registry
    from consumers.dlq import show
    from consumers.dlq.consumer_of import consumer_of
    from consumers.dlq.find import find_in_file, find_in_topic

    if as_json and raw:
        raise click.UsageError("--json and --raw exclude each other")
    if file is not None:
        letter, name, named = find_in_file(file, where)
    else:
        place = _place(cluster, topics)
        letter, name, named = find_in_topic(cluster.kafka, place, where)
    if raw:
        sys.stdout.buffer.write(letter.record.value or b"")
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


@dlq_command.command("export")
@topic_options
@cluster_options
@filter_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where."
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def export_command(
    cluster: ClusterOptions,
    topics: Topics,
    output: Path,
    force: bool,
    **chosen: Any,
) -> None:
    """Write dead letters to a file, whole. Joins no group and moves none."""
    from consumers.dlq.export import export
    from consumers.dlq.standing import standing
    from fleet.kafka.places import EARLIEST, LATEST

    place = _place(cluster, topics)
    standing(cluster.kafka, place)  # says what there may be instead, where there is no such topic
    tally = export(
        cluster.kafka,
        place,
        selection_of(chosen["reasons"], chosen["origin"]),
        output,
        span=(place_of(chosen["since"], EARLIEST), place_of(chosen["until"], LATEST)),
        overwrite=force,
    )
    click.echo(f"Exported {tally.total:,} dead letters of {place.name} to {output}: {tally}")


# -- purge ----------------------------------------------------------------------------------------


@dlq_command.command("purge")
@topic_options
@cluster_options
@click.option("--before", metavar="PLACE", help="Delete all that is before this place.")
@click.option("--all", "everything", is_flag=True, help="Delete all that is there now.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would go.")
def purge_command(
    cluster: ClusterOptions,
    topics: Topics,
    before: str | None,
    everything: bool,
    yes: bool,
) -> None:
    """Delete dead letters for good, from the oldest up to a place.

    Kafka deletes up to an offset and nothing else: there is no choice by reason.
    """
    from consumers.dlq.purge import plan_purge, purge
    from fleet.kafka.places import LATEST

    if everything == (before is not None):
        raise click.UsageError("give either --before PLACE or --all")
    place = _place(cluster, topics)
    plan = plan_purge(cluster.kafka, place, place_of(before, LATEST))
    if not plan.tally.total:
        click.echo(f"Nothing to purge in {place.name}.")
        return
    click.echo(f"{plan.tally.total:,} dead letters of {place.name}: {plan.tally}")
    for index, end in sorted(plan.before.items()):
        click.echo(f"  partition {index}: all before offset {end:,}")
    if plan.never_replayed:
        click.echo(
            f"{plan.never_replayed:,} of them were never replayed, says group {place.group}.\n"
            f"  keep them first:  consumer dlq export --dlq-topic {place.name} -o FILE"
        )
    if not yes:
        click.echo("Nothing is deleted: add --yes to do it.")
        return
    purge(cluster.kafka, place, plan)
    click.echo(f"Deleted {plan.tally.total:,}.")
