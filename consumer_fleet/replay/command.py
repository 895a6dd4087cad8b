"""``consumer replay``: a recording or a topic again, into a topic or through a consumer."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import (
    DELIVERY_OPTIONS,
    Connection,
    complete_consumer,
    connection_options,
)

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.replay.rewrite import Rewriter
    from consumer_fleet.replay.source import Pair, Source
_EPILOG = """
A place is earliest, latest, an offset, a time (2026-01-31T12:00, UTC) or -15m;
of a recording, it is where the messages were when they were recorded.

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


def _speed(_: click.Context, parameter: click.Parameter, text: str) -> float | None:
    """None where messages are not to be held back."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(
            f"{text!r} is no speed: expected 1x, 10x, 0.5x or max", param=parameter
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
@click.option("--from", "start", metavar="PLACE", default="earliest", help="Default: earliest.")
@click.option("--to", "end", metavar="PLACE", default="latest", help="Default: the end.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most N messages.")
@click.option(
    "--speed", metavar="S", default="max", callback=_speed,
    help="1x: at the distances of their timestamps; 10x; max (default): at once.",
)  # fmt: skip
@click.option(
    "--partition-by", type=click.Choice(["original", "key"]), default="original",
    help="The partition that it had (default), or the one that the key decides.",
)  # fmt: skip
@click.option("--create", is_flag=True, help="Create T2 if it is missing.")
@click.option("--new-event-ids", is_flag=True, help="Give the events other ids.")
@click.option(
    "--shift-time", is_flag=True,
    help="Move all times: the first message is now; faster than 1x, the last.",
)  # fmt: skip
@click.option(
    "--format", "message_format", metavar="NAME", shell_complete=complete_consumer,
    help="The consumer whose messages they are.",
)  # fmt: skip
@click.option("--upstream-dsn", metavar="DSN", help="With --through: where they go first.")
@click.option("--saas-dsn", metavar="DSN", help="With --through: the second destination.")
@click.option("--workers", metavar="N", type=int, help="With --through: worker processes.")
@click.option(
    "--rejects", metavar="PATH", type=click.Path(path_type=Path),
    help="With --through: file for what is rejected.",
)  # fmt: skip
@click.option("--transform", metavar="M:F", help="With --through: a function that mends messages.")
@click.option("--yes", is_flag=True, help="Do it where it would be refused without.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@connection_options
def replay_command(connection: Connection, **given: Any) -> None:
    """Replay FILE, a recording, or a topic: into another topic, or through a consumer.

    Writes into the topic that the messages are from, and delivers to a DSN on another machine,
    only with --yes.
    """
    if (given["file"] is None) is (given["topic"] is None):
        raise click.UsageError("name what to replay: a recording, or a topic with --topic")
    if (given["to_topic"] is None) is (given["through"] is None):
        raise click.UsageError("say where to: --to-topic TOPIC, or --through CONSUMER")
    _refuse_what_does_nothing(given)
    connection = connection.adding(**{name: given[name] for name in DELIVERY_OPTIONS})
    cluster = connection.resolve(
        required=given["topic"] is not None or given["to_topic"] is not None
    )
    if given["through"] is None:
        sys.exit(_to_topic(cluster, given))
    sys.exit(_through(cluster, given))


_ONLY_TO_TOPIC = ("create",)
_ONLY_THROUGH = (*DELIVERY_OPTIONS, "rejects", "transform")


def _refuse_what_does_nothing(given: dict[str, Any]) -> None:
    to_topic = given["through"] is None
    for name in _ONLY_THROUGH if to_topic else _ONLY_TO_TOPIC:
        if given[name]:
            option = name.removeprefix("as_").replace("_", "-")
            target = "--through" if to_topic else "--to-topic"
            raise click.UsageError(f"--{option} goes with {target} only")


def _open_source(cluster: ClusterOptions, given: dict[str, Any]) -> Source:
    from consumer_fleet.kafka.offset_spec import parse_offset_spec
    from consumer_fleet.replay.source import RecordingSource, TopicSource

    now_s = time.time()
    start, end = parse_offset_spec(given["start"], now_s), parse_offset_spec(given["end"], now_s)
    if given["file"] is not None:
        return RecordingSource(given["file"], start, end)
    return TopicSource(given["topic"], cluster.options, cluster.kafka, start, end)


def _batches(
    source: Source,
    given: dict[str, Any],
    rewriter: Rewriter | None,
    check: Callable[[Pair], None] | None = None,
) -> Iterator[list[Pair]]:
    """Ends the command with 1, as ``record`` does, where there is no message."""
    from consumer_fleet.errors import EXIT_FINDINGS
    from consumer_fleet.replay.batches import batches_of

    batches = batches_of(
        source, limit=given["limit"], speed=given["speed"], check=check, rewrite=rewriter
    )
    if batches is None:
        span = f"from {given['start']} to {given['end']}"
        click.echo(
            f"consumer: nothing is replayed: {source.name} holds no message {span}", err=True
        )
        raise click.exceptions.Exit(EXIT_FINDINGS)
    return batches


def _rewriter(source: Source, given: dict[str, Any]) -> Rewriter | None:
    from consumer_fleet.replay.batches import latest_ms
    from consumer_fleet.replay.rewrite import Rewriter, Shift

    if not given["new_event_ids"] and not given["shift_time"]:
        return None
    consumer = _format_of(source, given)
    shift = None
    if given["shift_time"]:
        # Kafka and upstreams refuse what lies in the future, as the later ones would here.
        is_faster = given["speed"] is None or given["speed"] > 1
        shift = Shift(time.time, latest_ms(source, given["limit"]) if is_faster else None)
    return Rewriter(consumer, new_event_ids=given["new_event_ids"], shift=shift)


def _format_of(source: Source, given: dict[str, Any]) -> str:
    from consumer_fleet.consumers import registry

    if given["message_format"] is not None:
        return registry.get(given["message_format"]).name
    if given["through"] is not None:
        return registry.get(given["through"]).name
    if source.consumer is None:
        raise click.UsageError(
            f"--new-event-ids and --shift-time must know what the messages of {source.name} are: "
            "name a consumer with --format"
        )
    return source.consumer.name


# -- into a topic ----------------------------------------------------------------------------------


def _to_topic(cluster: ClusterOptions, given: dict[str, Any]) -> int:
    from rich.console import Console

    from consumer_fleet.errors import EXIT_OK
    from consumer_fleet.kafka.topic_writer import TopicWriter
    from consumer_fleet.replay.to_topic import (
        prepare_target,
        refuse_dead_letters_of,
        replay_to_topic,
        summarise,
    )
    from consumer_fleet.run.shutdown import Shutdown
    from consumer_fleet.run.transfer_progress import TransferProgress
    from consumer_fleet.targets import named_topic

    source = _open_source(cluster, given)
    try:
        target = named_topic(given["to_topic"], cluster.options).physical
        make_target = prepare_target(
            cluster.kafka,
            target,
            source,
            create=given["create"],
            keep_partitions=given["partition_by"] == "original",
            same_topic_is_fine=given["yes"],
        )
        rewriter = _rewriter(source, given)
        check = None if given["yes"] else refuse_dead_letters_of(target)
        batches = _batches(source, given, rewriter, check)
        make_target()
        shutdown = Shutdown(cluster.options.shutdown_timeout)
        console = Console(stderr=True)
        live = console.is_terminal and cluster.options.log_format != "json"
        with (
            shutdown.signals(),
            TransferProgress("replay", source.total, console, live=live) as progress,
        ):
            replayed = replay_to_topic(
                batches,
                source,
                TopicWriter(cluster.kafka, target),
                progress,
                keep_partitions=given["partition_by"] == "original",
                stop_requested=lambda: shutdown.requested,
            )
    finally:
        source.close()
    summarise(source, target, replayed, rewriter, as_json=given["as_json"])
    if replayed.failure is not None:
        raise replayed.failure
    return (shutdown.signal_code if replayed.interrupted else None) or EXIT_OK


# -- through a consumer ---------------------------------------------------------------------------


def _through(cluster: ClusterOptions, given: dict[str, Any]) -> int:
    from arroyo.types import Topic

    from consumer_fleet.recording.reader import chunks_of
    from consumer_fleet.replay.through import Extent, remote_destinations, replay_through
    from consumer_fleet.replay.through import Source as ThroughSource

    remote = remote_destinations(cluster.options)
    if remote and not given["yes"]:
        raise click.UsageError(
            f"this would deliver to {' and '.join(remote)}: say so with --yes, or name a DSN on "
            "this machine with --upstream-dsn"
        )
    source = _open_source(cluster, given)

    def chunks(batches: Iterator[list[Pair]]) -> Iterator[Any]:
        for batch in batches:
            yield from chunks_of(Topic(source.topic), batch) if batch else (None,)

    def read() -> float:
        limit = given["limit"] or float("inf")
        return max(source.given / limit, source.done / max(1, source.total))

    try:
        batches = _batches(source, given, _rewriter(source, given))
        return replay_through(
            ThroughSource(
                source.name, source.topic, source.partitions, chunks(batches), Extent(None, read)
            ),
            given["through"],
            options=cluster.options,
            rejects=given["rejects"],
            transform=given["transform"],
            as_json=given["as_json"],
        )
    finally:
        source.close()
