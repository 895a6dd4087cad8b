"""``consumer dlq``: the command lines of list, show, replay, export and purge."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import (
    CONNECTION,
    DELIVERY,
    CommandGroup,
    complete_consumer,
    program_options,
    resolve_cluster,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import OptionsRequest
    from consumer_fleet.dlq.topic import DeadLetterTopic

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

A POSITION is earliest, latest, an offset, a time (2026-01-31T12:00, UTC) or
-15m, -2h, -3d. The brokers are named as for every other command.
"""
_LIST_EPILOG = """
\b
Examples:
  consumer dlq list --topic ingest-events
  consumer dlq list --topic ingest-events --reason http_400 --since -1d
  consumer dlq list --topic ingest-events --each --limit 1000
  consumer dlq list --file dead.recording --json
"""
_SHOW_EPILOG = """
\b
Examples:
  consumer dlq show --topic ingest-events 41
  consumer dlq show --topic ingest-events 0/41 --raw > 41.msgpack
  consumer dlq show --file dead.recording 41
"""
_REPLAY_EPILOG = """
\b
Examples:
  consumer dlq replay --topic ingest-events --dry-run
  consumer dlq replay --topic ingest-events --yes
  consumer dlq replay --topic ingest-events --reason invalid_msgpack \\
      --transform fix:run --yes
  consumer dlq replay --dlq-topic shared-dlq --through events --since -1d
  consumer dlq replay --topic events --due --since -1d --yes

Without a filter it begins where the last one ended (group
consumer-fleet-dlq-DLQ-TOPIC) and commits what is settled. With --reason,
--origin, --since, --until or --due it commits nothing: repeated, it sends the
same again. Rejected messages go to a file, never back to the topic.
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


@click.group("dlq", cls=CommandGroup, epilog=_EPILOG)
def dlq_command() -> None:
    """List, show, replay, export and purge dead letters."""


# -- shared options --------------------------------------------------------------------------------


def _topic_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--topic`` and ``--dlq-topic``; the command gets ``find_topic``, which returns the
    dead-letter topic that they name.
    """

    @click.option(
        "--topic",
        metavar="T",
        shell_complete=complete_consumer,
        help="The consumer or topic whose messages were rejected.",
    )
    @click.option("--dlq-topic", metavar="D", help="The dead-letter topic itself.")
    @functools.wraps(command)
    def with_topics(*, topic: str | None, dlq_topic: str | None, **others: Any) -> Any:
        def find_topic(cluster: ClusterOptions) -> DeadLetterTopic:
            from consumer_fleet.dlq.topic import dead_letter_topic

            return dead_letter_topic(topic, dlq_topic, cluster.options)

        return command(find_topic=find_topic, **others)

    return with_topics


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose dead letters; the command gets ``chosen``."""

    @click.option("--reason", "reasons", metavar="R", multiple=True, help="Only this reason.")
    @click.option("--origin", metavar="TOPIC[/P]", help="Only those that came from there.")
    @click.option("--since", metavar="POSITION", help="Only from here on: a time, -2h, an offset.")
    @click.option("--until", metavar="POSITION", help="Only those before this position.")
    @click.option("--due", is_flag=True, help="Only those that a rate limit held, once it ended.")
    @functools.wraps(command)
    def with_filter(
        *,
        reasons: tuple[str, ...],
        origin: str | None,
        since: str | None,
        until: str | None,
        due: bool,
        **others: Any,
    ) -> Any:
        from consumer_fleet.dlq.letters import LetterFilter

        chosen = LetterFilter.parse(reasons, origin, since, until, due=due)
        return command(chosen=chosen, **others)

    return with_filter


_file_option = click.option(
    "--file", metavar="FILE", type=click.Path(path_type=Path), help="Read a file of dead letters."
)
_FindTopic = Callable[["ClusterOptions"], "DeadLetterTopic"]
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


# -- list ------------------------------------------------------------------------------------------


@dlq_command.command("list", epilog=_LIST_EPILOG)
@_topic_options
@_file_option
@program_options(*CONNECTION)
@_filter_options
@click.option("--each", is_flag=True, help="A line for each message, not a table by reason.")
@click.option("--limit", metavar="N", type=click.IntRange(0), help="With --each; default 100.")
@_json_option
def list_command(
    options: OptionsRequest, find_topic: _FindTopic, file: Path | None, **values: Any
) -> None:
    """Count the dead letters by reason, or list each of them.

    Joins no group. --file reads an export, or the rejected messages of a replay.
    """
    from consumer_fleet.dlq.list import ListRequest, list_letters

    if values["limit"] is not None and not values["each"]:
        raise click.UsageError("--limit goes with --each")
    cluster = resolve_cluster(options, needs_broker=file is None)
    source = find_topic(cluster) if file is None else file
    list_letters(ListRequest(source, **values), cluster)


# -- show ------------------------------------------------------------------------------------------


@dlq_command.command("show", epilog=_SHOW_EPILOG)
@click.argument("where", metavar="OFFSET|PARTITION/OFFSET")
@_topic_options
@_file_option
@program_options(*CONNECTION)
@click.option(
    "--through",
    metavar="CONSUMER",
    shell_complete=complete_consumer,
    help="The consumer that decodes it; default: by origin.",
)
@_json_option
@click.option("--raw", is_flag=True, help="Only the message's value, byte for byte.")
def show_command(
    options: OptionsRequest, find_topic: _FindTopic, file: Path | None, **values: Any
) -> None:
    """Show one dead letter: its reason, headers and bytes, and how it decodes now.

    Secrets are hidden in the headers and in the decoded message, but not in the bytes, nor in the
    bytes that --json prints.
    """
    from consumer_fleet.dlq.show import LetterRequest, show

    if values["as_json"] and values["raw"]:
        raise click.UsageError("--json and --raw exclude each other")
    cluster = resolve_cluster(options, needs_broker=file is None)
    source = find_topic(cluster) if file is None else file
    show(LetterRequest(source, **values), cluster)


# -- replay ----------------------------------------------------------------------------------------


@dlq_command.command("replay", epilog=_REPLAY_EPILOG)
@_topic_options
@_filter_options
@click.option("--transform", metavar="MODULE:FUNCTION", help="Fixes each Record; None skips it.")
@click.option(
    "--through",
    metavar="CONSUMER",
    shell_complete=complete_consumer,
    help="Use this consumer for all; default: by origin.",
)
@click.option(
    "--rejects",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File for rejected messages; default DLQ-TOPIC.rejected.recording.",
)
@click.option("--yes", is_flag=True, help="Confirm sending to another machine.")
@click.option("--dry-run", is_flag=True, help="Only print what would be replayed.")
@_json_option
@program_options(*DELIVERY)
def replay_command(options: OptionsRequest, find_topic: _FindTopic, **values: Any) -> None:
    """Send dead letters through their consumer again, with fixes if needed.

    Each is restored first: without its dlq.* headers, and with the event id that it had.
    """
    from consumer_fleet.dlq.replay import DeadLetterReplay, DeadLetterReplayRequest

    cluster = resolve_cluster(options)
    request = DeadLetterReplayRequest(**values)
    sys.exit(DeadLetterReplay(request, find_topic(cluster), cluster).run())


# -- export ----------------------------------------------------------------------------------------


@dlq_command.command("export", epilog=_EXPORT_EPILOG)
@_topic_options
@program_options(*CONNECTION)
@_filter_options
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="The recording to write.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
@_json_option
def export_command(options: OptionsRequest, find_topic: _FindTopic, **values: Any) -> None:
    """Write whole dead letters to a file. Joins no group and moves none."""
    from consumer_fleet.dlq.export import ExportRequest, export

    cluster = resolve_cluster(options)
    export(ExportRequest(**values), find_topic(cluster), cluster)


# -- purge -----------------------------------------------------------------------------------------


@dlq_command.command("purge", epilog=_PURGE_EPILOG)
@_topic_options
@program_options(*CONNECTION)
@click.option("--before", metavar="POSITION", help="Delete everything before this position.")
@click.option("--all", "everything", is_flag=True, help="Delete everything that is there now.")
@click.option("--yes", is_flag=True, help="Delete. Without this, only print the plan.")
@_json_option
def purge_command(
    options: OptionsRequest,
    find_topic: _FindTopic,
    before: str | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete dead letters for good, from the oldest up to a position.

    Kafka deletes up to an offset and nothing else, so a choice by reason is not possible.
    """
    from consumer_fleet.dlq.purge import PurgeRequest, purge
    from consumer_fleet.kafka.offset_spec import LATEST, parse_offset_spec

    if everything == (before is not None):
        raise click.UsageError("give either --before POSITION or --all")
    cluster = resolve_cluster(options)
    end = LATEST if before is None else parse_offset_spec(before, time.time())
    purge(PurgeRequest(end, yes, as_json), find_topic(cluster), cluster)
