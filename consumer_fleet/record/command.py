"""``consumer record``: a range of a topic as a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumer_fleet.command_options import cluster_options, complete_consumer

if TYPE_CHECKING:
    from consumer_fleet.bootstrap.options import ClusterOptions
    from consumer_fleet.kafka.reader import TopicReader
    from consumer_fleet.record.record import Change, Keep, Recorded
    from consumer_fleet.recording.format import RecordingHeader
    from consumer_fleet.targets import NamedTopic
# Of a recording's numbers.
_MAX = 2**63 - 1
_EPILOG = """
A place is earliest, latest, an offset, a time (2026-01-31T12:00, UTC) or -15m.
A filter compares facts of a message: key, value, partition, offset, size,
timestamp, header.NAME, json.PATH, event.PATH; with = != ~= < <= > >=; joined by
and, or, not and parentheses.

\b
Examples:
  consumer record --topic events -o events.recording
  consumer record --topic ingest-events -o last-hour.recording --from -1h
  consumer record --topic events -o errors.recording --limit 1000 --scrub \\
      --filter 'event.level=error and size<100000'
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
    help="The recording. FILE.partial until it is complete.",
)
@click.option("--from", "start", metavar="PLACE", default="earliest", help="Default: earliest.")
@click.option("--to", "end", metavar="PLACE", help="Default: latest, as it is at the start.")
@click.option("--limit", metavar="N", type=click.IntRange(1, _MAX), help="At most N messages.")
@click.option(
    "--partition", "partitions", metavar="P", type=click.IntRange(0), multiple=True,
    help="Only this partition. May be repeated.",
)  # fmt: skip
@click.option("--filter", "filter_text", metavar="EXPR", help="Only messages that EXPR is true of.")
@click.option("--scrub", is_flag=True, help="Take personal data and secrets out.")
@click.option(
    "--format", "message_format", metavar="NAME", shell_complete=complete_consumer,
    help="The consumer whose messages they are.",
)  # fmt: skip
@click.option("--follow", is_flag=True, help="Go on with what comes, until a signal.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@cluster_options
def record_command(cluster: ClusterOptions, **given: Any) -> None:
    """Record a range of a topic into a file, without joining a consumer group.

    A signal (INT, TERM) completes the file with what it has. Exits with 1, and writes nothing,
    where the range holds no message.
    """
    if given["follow"] and given["end"] is not None:
        raise click.UsageError("--follow has no end: leave --to out")
    sys.exit(_record(cluster, given))


def _record(cluster: ClusterOptions, given: dict[str, Any]) -> int:
    from consumer_fleet.errors import EXIT_FINDINGS
    from consumer_fleet.kafka.offset_spec import LATEST, parse_offset_spec
    from consumer_fleet.kafka.reader import TopicReader
    from consumer_fleet.targets import named_topic

    topic = named_topic(given["topic"], cluster.options, given["message_format"])
    keep, change = _selection(topic, given)
    now_s = time.time()
    start = parse_offset_spec(given["start"], now_s)
    end = LATEST if given["end"] is None else parse_offset_spec(given["end"], now_s)
    with TopicReader(
        cluster.kafka,
        topic.physical,
        start=start,
        end=None if given["follow"] else end,
        partitions=given["partitions"] or None,
    ) as reader:
        if not reader.total and not given["follow"]:
            click.echo(_nothing(reader), err=True)
            return EXIT_FINDINGS
        return _record_range(cluster, given, topic, reader, (keep, change))


def _selection(topic: NamedTopic, given: dict[str, Any]) -> tuple[Keep | None, Change | None]:
    """The filter and the scrubbing, checked before anything is connected to."""
    from consumer_fleet.record.filter import FilterError, parse_filter
    from consumer_fleet.record.scrub import Scrubber

    keep: Keep | None = None
    change: Change | None = None
    if given["filter_text"] is not None:
        try:
            keep = parse_filter(given["filter_text"], topic.consumer)
        except FilterError as error:
            raise click.BadParameter(str(error), param_hint="--filter") from error
    if given["scrub"]:
        if topic.consumer is None:
            raise click.UsageError(
                f"--scrub must know what the messages of {topic.physical!r} are: "
                "name a consumer with --format"
            )
        change = Scrubber(topic.consumer.name)
    return keep, change


def _record_range(
    cluster: ClusterOptions,
    given: dict[str, Any],
    topic: NamedTopic,
    reader: TopicReader,
    selection: tuple[Keep | None, Change | None],
) -> int:
    from rich.console import Console

    from consumer_fleet.errors import EXIT_OK
    from consumer_fleet.record.record import Recorder
    from consumer_fleet.recording.writer import RecordingWriter
    from consumer_fleet.run.progress import TransferProgress
    from consumer_fleet.run.shutdown import Shutdown

    shutdown = Shutdown(cluster.options.shutdown_timeout)
    console = Console(stderr=True)
    live = console.is_terminal and cluster.options.log_format != "json"
    total = None if given["follow"] else reader.total
    header = _header(given, topic, reader)
    keep, change = selection
    with RecordingWriter(given["output"], header, overwrite=given["force"]) as writer:
        recorder = Recorder(reader, writer, keep=keep, change=change, limit=given["limit"])
        with shutdown.signals():
            with TransferProgress("record", total, console, live=live) as progress:
                recorded = recorder.run(lambda: shutdown.requested, progress)
            writer.complete()
    facts = {
        "path": str(given["output"]),
        "topic": topic.physical,
        "interrupted": shutdown.requested,
        "file_bytes": writer.file_bytes,
        "gone": {str(index): offsets for index, offsets in sorted(reader.gone.items())},
        "replaced_whole": getattr(change, "replaced_whole", None),
    }
    _summarise(recorded, facts, as_json=given["as_json"])
    return EXIT_OK


def _header(given: dict[str, Any], topic: NamedTopic, reader: TopicReader) -> RecordingHeader:
    from consumer_fleet.recording.format import RecordingHeader

    return RecordingHeader(
        topic=topic.physical,
        partitions=reader.partitions,
        recorded_at_ms=int(time.time() * 1000),
        ranges={index: (span.start, span.end) for index, span in reader.ranges.items()},
        filter=given["filter_text"],
        scrubbed=given["scrub"],
        limit=given["limit"],
        consumer=None if topic.consumer is None else topic.consumer.name,
        cluster_id=reader.cluster_id,
    )


def _nothing(reader: TopicReader) -> str:
    held = ", ".join(
        f"{index}: {span.start:,} to {span.end:,}" if span.size else f"{index}: none"
        for index, span in sorted(reader.watermarks.items())
    )
    return (
        f"consumer: the range holds no message of {reader.topic!r}, nothing is written; "
        f"what it has, by partition: {held}"
    )


def _summarise(recorded: Recorded, facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        document = {
            **facts,
            "messages": recorded.total,
            "partitions": {str(index): n for index, n in sorted(recorded.messages.items())},
            "payload_bytes": recorded.payload_bytes,
            "first_timestamp_ms": recorded.first_timestamp_ms,
            "last_timestamp_ms": recorded.last_timestamp_ms,
            "left_out": recorded.left_out,
        }
        click.echo(json.dumps(document))
        return
    from rich.filesize import decimal

    click.echo(
        f"{'interrupted: ' if facts['interrupted'] else ''}recorded {recorded.total:,} messages of "
        f"{len(recorded.messages)} partition(s), {decimal(recorded.payload_bytes)}"
        f"{_times(recorded)}, in {facts['path']} ({decimal(facts['file_bytes'])})"
    )
    if facts["gone"]:
        click.echo(f"gone before they were recorded: {sum(facts['gone'].values()):,} offsets")
    if recorded.left_out:
        click.echo(f"left out by the filter: {recorded.left_out:,}")
    if facts["replaced_whole"]:
        click.echo(f"replaced whole, since they can't be parsed: {facts['replaced_whole']:,}")


def _times(recorded: Recorded) -> str:
    from consumer_fleet.humanize import moment

    first, last = moment(recorded.first_timestamp_ms), moment(recorded.last_timestamp_ms)
    if first is None or last is None:
        return ""
    return f", {first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}"
