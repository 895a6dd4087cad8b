"""``consumer record``: save a range of a topic to a file."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from consumer_fleet.kafka.reader import TopicReader
    from consumer_fleet.record.filter import MessageFilter
    from consumer_fleet.record.scrub import Scrubber
    from consumer_fleet.record.topic_recorder import Recorded
    from consumer_fleet.recording.format import RecordingHeader
    from consumer_fleet.targets import NamedTopic

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


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """The command line of ``consumer record``."""

    options: OptionsRequest
    topic: str
    output: Path
    start: str
    end: str | None
    limit: int | None
    partitions: Sequence[int]
    filter_text: str | None
    scrub: bool
    message_format: str | None
    follow: bool
    force: bool
    as_json: bool


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
@takes(RecordRequest)
def record_command(request: RecordRequest) -> None:
    """Record a range of a topic to a file, without joining a consumer group.

    A signal (INT, TERM) completes the file with the messages recorded so far. If the range holds no
    messages, nothing is written and the exit code is 1.
    """
    if request.follow and request.end is not None:
        raise click.UsageError("--follow has no end: omit --to")
    sys.exit(_record(resolve_cluster(request.options), request))


def _record(cluster: ClusterOptions, request: RecordRequest) -> int:
    from consumer_fleet.errors import EXIT_FINDINGS
    from consumer_fleet.kafka.offset_spec import LATEST, parse_offset_spec
    from consumer_fleet.kafka.reader import TopicReader
    from consumer_fleet.targets import named_topic

    topic = named_topic(request.topic, cluster.options, request.message_format)
    # Checked before anything is connected to.
    keep, scrubber = _filter(request, topic), _scrubber(request, topic)
    now_s = time.time()
    start = parse_offset_spec(request.start, now_s)
    end = LATEST if request.end is None else parse_offset_spec(request.end, now_s)
    with TopicReader(
        cluster.kafka,
        topic.physical,
        start=start,
        end=None if request.follow else end,
        partitions=request.partitions or None,
    ) as reader:
        if not reader.total and not request.follow:
            click.echo(_nothing(reader), err=True)
            return EXIT_FINDINGS
        header = _header(request, topic, reader)
        return _record_range(cluster, request, header, reader, (keep, scrubber))


def _filter(request: RecordRequest, topic: NamedTopic) -> MessageFilter | None:
    from consumer_fleet.record.filter import FilterError, MessageFilter

    if request.filter_text is None:
        return None
    try:
        return MessageFilter(request.filter_text, topic.consumer)
    except FilterError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from error


def _scrubber(request: RecordRequest, topic: NamedTopic) -> Scrubber | None:
    from consumer_fleet.record.scrub import Scrubber

    if not request.scrub:
        return None
    if topic.consumer is None:
        raise click.UsageError(
            f"--scrub needs the message format of {topic.physical!r}: name a consumer with --format"
        )
    return Scrubber(topic.consumer.name)


def _record_range(
    cluster: ClusterOptions,
    request: RecordRequest,
    header: RecordingHeader,
    reader: TopicReader,
    selection: tuple[MessageFilter | None, Scrubber | None],
) -> int:
    from consumer_fleet.errors import EXIT_OK
    from consumer_fleet.record.topic_recorder import TopicRecorder
    from consumer_fleet.recording.writer import RecordingWriter
    from consumer_fleet.run.progress import TransferProgress
    from consumer_fleet.run.shutdown import Shutdown

    shutdown = Shutdown(cluster.options.shutdown_timeout)
    total = None if request.follow else reader.total
    keep, scrubber = selection
    with RecordingWriter(request.output, header, overwrite=request.force) as writer:
        recorder = TopicRecorder(reader, writer, keep=keep, change=scrubber, limit=request.limit)
        with shutdown.signals():
            with TransferProgress.on_stderr(cluster.options, "record", total) as progress:
                recorded = recorder.run(lambda: shutdown.requested, progress)
            writer.complete()
    facts = {
        "path": str(request.output),
        "topic": header.topic,
        "interrupted": shutdown.requested,
        "file_bytes": writer.file_bytes,
        "gone": {str(index): offsets for index, offsets in sorted(reader.gone.items())},
        "replaced_whole": None if scrubber is None else scrubber.replaced_whole,
        "filter_inapplicable": None if keep is None else keep.inapplicable,
        "filter_reason": None if keep is None else keep.reason,
    }
    _summarise(recorded, facts, as_json=request.as_json)
    return EXIT_OK


def _header(request: RecordRequest, topic: NamedTopic, reader: TopicReader) -> RecordingHeader:
    from consumer_fleet.record.filter import LANGUAGE
    from consumer_fleet.recording.format import RecordingHeader

    return RecordingHeader(
        topic=topic.physical,
        partitions=reader.partitions,
        recorded_at_ms=int(time.time() * 1000),
        ranges={index: (span.start, span.end) for index, span in reader.ranges.items()},
        filter=request.filter_text,
        filter_language=None if request.filter_text is None else LANGUAGE,
        scrubbed=request.scrub,
        limit=request.limit,
        consumer=None if topic.consumer is None else topic.consumer.name,
        cluster_id=reader.cluster_id,
    )


def _nothing(reader: TopicReader) -> str:
    held = ", ".join(
        f"{index}: {span.start:,} to {span.end:,}" if span.size else f"{index}: none"
        for index, span in sorted(reader.watermarks.items())
    )
    return (
        f"consumer: the range holds no messages of {reader.topic!r}, so nothing was written; "
        f"offsets by partition: {held}"
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

    from consumer_fleet.humanize import counted

    click.echo(
        f"{'interrupted: ' if facts['interrupted'] else ''}recorded "
        f"{counted(recorded.total, 'message')} of {counted(len(recorded.messages), 'partition')}, "
        f"{decimal(recorded.payload_bytes)}"
        f"{_times(recorded)}, in {facts['path']} ({decimal(facts['file_bytes'])})"
    )
    if facts["gone"]:
        gone = sum(facts["gone"].values())
        click.echo(f"deleted by Kafka before they were recorded: {counted(gone, 'offset')}")
    if recorded.left_out:
        click.echo(f"left out by the filter: {recorded.left_out:,}")
    if facts["filter_inapplicable"]:
        messages = counted(facts["filter_inapplicable"], "message")
        click.echo(f"the filter failed on {messages}; the first: {facts['filter_reason']}")
    if facts["replaced_whole"]:
        click.echo(f"replaced as a whole because they can't be parsed: {facts['replaced_whole']:,}")


def _times(recorded: Recorded) -> str:
    from consumer_fleet.humanize import moment

    first, last = moment(recorded.first_timestamp_ms), moment(recorded.last_timestamp_ms)
    if first is None or last is None:
        return ""
    return f", {first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}"
