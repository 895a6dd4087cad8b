"""``consumer tail``: the command line."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from consumer_fleet.command_options import (
    CONNECTION,
    complete_consumer,
    program_options,
    resolve_cluster,
    takes,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.bootstrap.resolve import OptionsRequest
    from consumer_fleet.tail.follow import Stream

_EPILOG = """
Each line has the time, the delivery, the position, the project, the level and the title.
Deliveries, as far as the group's commits and the dead-letter topic tell:

\b
  settled      delivered, or filtered
  held         its destination limits it or fails on it; others pass
  dead letter  rejected, with the reason
  waiting      not settled within 3 seconds
  unknown      the group has committed nothing in this partition

A line is shown again if it is held or becomes a dead letter later, and when a held one is settled.

POSITION: earliest, latest, an offset, a time (2026-01-31T12:00, UTC), -15m, or -N messages.

\b
Examples:
  consumer tail
  consumer tail --topic events --from -5m
  consumer tail --topic ingest-events --json | jq 'select(.level == "error")'
"""


@dataclass(frozen=True, slots=True)
class TailRequest:
    options: OptionsRequest
    topics: tuple[str, ...]
    group: str | None
    start: str
    message_format: str | None
    as_json: bool


@click.command("tail", epilog=_EPILOG)
@click.option(
    "--topic",
    "topics",
    metavar="T",
    multiple=True,
    shell_complete=complete_consumer,
    help="A consumer, or a topic's name; may be repeated. Default: every consumer's topic.",
)
@click.option("--group", metavar="G", help="Group whose commits count; default: the consumer's.")
@click.option("--from", "start", metavar="POSITION", default="latest", help="Default: latest.")
@click.option(
    "--format", "message_format", metavar="NAME", shell_complete=complete_consumer,
    help="Message format: a consumer's name.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@program_options(*CONNECTION)
@takes(TailRequest)
def tail_command(request: TailRequest) -> None:
    """Print one line per message as it passes, and what became of it, until Ctrl-C.

    It joins no group and commits nothing.
    """
    import time

    from consumer_fleet.kafka.offset_spec import parse_offset_spec
    from consumer_fleet.tail.follow import Follower
    from consumer_fleet.tail.line import Layout

    cluster = resolve_cluster(request.options)
    start = parse_offset_spec(request.start, time.time(), relative=True)
    streams = _streams(cluster, request)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    layout = Layout(None, with_topic=len(streams) > 1)
    color = False if "NO_COLOR" in os.environ else None
    follower = Follower(cluster, streams, start)
    try:
        for line in follower.lines():
            if request.as_json:
                click.echo(json.dumps(line.as_plain_data(), ensure_ascii=False))
                continue
            if is_terminal:
                layout.width = shutil.get_terminal_size().columns
            click.echo(layout.text(line), color=color)
    except KeyboardInterrupt:
        pass


def _streams(cluster: ClusterOptions, request: TailRequest) -> list[Stream]:
    """What to follow. Raises ConfigurationError for a topic of unknown format, or if there is
    nothing.
    """
    from consumer_fleet.consumers import registry
    from consumer_fleet.errors import ConfigurationError
    from consumer_fleet.kafka.groups import Groups

    if request.topics:
        return [_stream(name, cluster, request) for name in request.topics]
    with Groups(cluster.kafka) as groups:
        present = groups.topics()
    every = [_stream(name, cluster, request) for name in registry.names()]
    found = [stream for stream in every if stream.topic in present]
    if not found:
        raise ConfigurationError(
            "no consumer's topic exists on this cluster: name one with --topic, and its message "
            "format with --format"
        )
    return found


def _stream(name: str, cluster: ClusterOptions, request: TailRequest) -> Stream:
    from consumer_fleet.errors import ConfigurationError
    from consumer_fleet.tail.follow import Stream
    from consumer_fleet.targets import dead_letter_topic_of, group_of, named_topic, options_for

    is_only = request.topics == (name,)
    options = options_for(name, cluster.options) if is_only else cluster.options
    physical, definition = named_topic(name, options, request.message_format)
    if definition is None:
        raise ConfigurationError(
            f"topic {name!r} has no known consumer: name its message format with --format"
        )
    group = request.group or group_of(definition, options)
    return Stream(physical, definition, group, dead_letter_topic_of(physical, options))
