"""``consumer replay``: the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import (
    CONNECTION,
    complete_consumer,
    program_option,
    program_options,
    resolve_cluster,
)

if TYPE_CHECKING:
    from consumer_fleet.replay.batches import ReplayRequest

_EPILOG = """
A POSITION is earliest, latest, an offset, a time (2026-01-31T12:00, UTC) or -15m.
In a recording, it is the position that messages had when they were recorded.

\b
Examples:
  consumer replay events.recording --to-topic events-copy --create
  consumer replay --topic events --to-topic events-copy --partition-by key
  consumer replay events.recording --to-topic events --speed 1x \\
      --new-event-ids --shift-time --yes
  consumer replay events.recording --through events
  consumer replay events.recording --through events \\
      --upstream-dsn https://KEY@sentry.example.com/1 --yes
"""
_ONLY_TO_TOPIC = ("create",)
_ONLY_THROUGH = ("upstream_dsn", "saas_dsn", "workers", "rejects", "transform")


def _speed(_: click.Context, parameter: click.Parameter, text: str) -> float | None:
    """None for no pace at all."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(
            f"{text!r} is not a valid speed: use 1x, 10x or max", param=parameter
        )
    return speed


@click.command("replay", epilog=_EPILOG)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--topic",
    metavar="T",
    shell_complete=complete_consumer,
    help="Replay this topic instead of a file.",
)
@click.option(
    "--to-topic",
    metavar="T2",
    shell_complete=complete_consumer,
    help="Write the messages into this topic.",
)
@click.option(
    "--through",
    metavar="CONSUMER",
    shell_complete=complete_consumer,
    help="Deliver them through this consumer.",
)
@click.option("--from", "start", metavar="POSITION", default="earliest", help="Default: earliest.")
@click.option("--to", "end", metavar="POSITION", default="latest", help="Default: latest.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most N messages.")
@click.option(
    "--speed", metavar="S", default="max", callback=_speed,
    help="1x: at the original pace; 10x; max (default): as fast as possible.",
)  # fmt: skip
@click.option(
    "--partition-by", type=click.Choice(["original", "key"]), default="original",
    help="The original partition (default), or the one that the key decides.",
)  # fmt: skip
@click.option("--create", is_flag=True, help="Create T2 if it does not exist.")
@click.option("--new-event-ids", is_flag=True, help="Give each event a new id.")
@click.option(
    "--shift-time", is_flag=True,
    help="Shift all times: the first message is now; faster than 1x, the last one.",
)  # fmt: skip
@click.option(
    "--format", "message_format", metavar="NAME", shell_complete=complete_consumer,
    help="Message format: the name of a consumer.",
)  # fmt: skip
@click.option(
    "--rejects", metavar="PATH", type=click.Path(path_type=Path),
    help="With --through: file for rejected messages.",
)  # fmt: skip
@click.option("--transform", metavar="M:F", help="With --through: a function that fixes messages.")
@click.option(
    "--yes",
    is_flag=True,
    help="Confirm writing to the source topic, or delivering to another machine.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@program_options(
    program_option("upstream_dsn", metavar="DSN", help="With --through: the first destination."),
    program_option("saas_dsn", metavar="DSN", help="With --through: the second destination."),
    program_option("workers", metavar="N", type=int, help="With --through: worker processes."),
    *CONNECTION,
)
def replay_command(**values: Any) -> None:
    """Replay FILE, a recording, or a topic: into another topic, or through a consumer.

    Requires confirmation with --yes to write into the topic that the messages came from, or to
    deliver to a DSN on another machine.
    """
    from consumer_fleet.replay.batches import ReplayRequest

    request = ReplayRequest(**values)
    if (request.file is None) is (request.topic is None):
        raise click.UsageError("name what to replay: a recording, or a topic with --topic")
    if (request.to_topic is None) is (request.through is None):
        raise click.UsageError("say where to: --to-topic TOPIC, or --through CONSUMER")
    _refuse_without_effect(request)
    is_without_kafka = request.topic is None and request.to_topic is None
    cluster = resolve_cluster(request.options, needs_broker=not is_without_kafka)
    if request.to_topic is not None:
        from consumer_fleet.replay.to_topic import run_to_topic

        sys.exit(run_to_topic(request, request.to_topic, cluster))
    from consumer_fleet.replay.through import run_through

    sys.exit(run_through(request, str(request.through), cluster))


def _refuse_without_effect(request: ReplayRequest) -> None:
    """An option that does nothing here is a mistake."""
    is_to_topic = request.through is None
    target = "--through" if is_to_topic else "--to-topic"
    names = _ONLY_THROUGH if is_to_topic else _ONLY_TO_TOPIC
    for name in names:
        if getattr(request, name, None) or request.options.given.get(name):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with {target} only")
