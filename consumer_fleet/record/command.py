"""``consumer record``: save a range of a topic to a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import (
    CONNECTION,
    complete_consumer,
    program_options,
    resolve_cluster,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.resolve import OptionsRequest

# Numbers in a recording have 63 bits.
_MAX = 2**63 - 1
_EPILOG = """
POSITION: earliest, latest, an offset, a time (2026-01-31T12:00, UTC) or -15m.

A filter is a JMESPath expression on key, value, partition, offset, size,
timestamp, headers, message (the decoded value) and event; with two more
functions: matches(text, 'regular expression') and time('2026-01-31T12:00').

\b
Examples:
  consumer record --topic events -o events.recording
  consumer record --topic ingest-events -o last-hour.recording --from -1h
  consumer record --topic events -o errors.recording --limit 1000 --scrub \\
      --filter "event.level == 'error' && contains(event.release, '2.0')"
  consumer record --topic events -o live.recording --from latest --follow
"""


@click.command("record", epilog=_EPILOG)
@click.option(
    "--topic",
    required=True,
    metavar="T",
    shell_complete=complete_consumer,
    help="A topic, or a consumer's name.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The recording; FILE.partial until it is complete.",
)
@click.option("--from", "start", metavar="POSITION", default="earliest", help="Default: earliest.")
@click.option("--to", "end", metavar="POSITION", help="Default: the latest offset at the start.")
@click.option("--limit", metavar="N", type=click.IntRange(1, _MAX), help="At most N messages.")
@click.option(
    "--partition", "partitions", metavar="P", type=click.IntRange(0), multiple=True,
    help="Only this partition. May be repeated.",
)  # fmt: skip
@click.option(
    "--filter", "filter_text", metavar="EXPR", help="Only messages for which EXPR is true."
)
@click.option("--scrub", is_flag=True, help="Remove personal data and secrets.")
@click.option(
    "--format", "message_format", metavar="NAME", shell_complete=complete_consumer,
    help="Message format: a consumer's name.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Continue with new messages until a signal.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@program_options(*CONNECTION)
def record_command(options: OptionsRequest, **values: Any) -> None:
    """Record a range of a topic to a file, without joining a consumer group.

    A signal (INT, TERM) completes the file with the messages recorded so far. If the range holds no
    messages, nothing is written and the exit code is 1.
    """
    from consumer_fleet.record.topic_recorder import RecordRequest, record

    request = RecordRequest(**values)
    if request.follow and request.end is not None:
        raise click.UsageError("--follow has no end: omit --to")
    sys.exit(record(request, resolve_cluster(options)))
