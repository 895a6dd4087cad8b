"""Records a range of a topic to a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import click
from confluent_kafka import Message as KafkaMessage
from rich.filesize import decimal

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.errors import EXIT_FINDINGS, EXIT_OK
from consumer_fleet.humanize import counted, moment
from consumer_fleet.kafka.chunk import Pair, Record
from consumer_fleet.kafka.offset_spec import LATEST, parse_offset_spec
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.record.filter import LANGUAGE, FilterError, MessageFilter
from consumer_fleet.record.scrub import Scrubber
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.run.progress import TransferProgress
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.targets import NamedTopic, named_topic

Keep: TypeAlias = Callable[[int, Record], bool]
Change: TypeAlias = Callable[[Record], Record]

# Few enough to stay in the processor's cache from one step to the next.
_READ_MESSAGES = 500
# Fewer large messages are read at a time.
_READ_BYTES = 8 * 1024 * 1024
_READ_TIMEOUT_S = 0.25
# A slow topic's messages are written after this time, even if the block is far from full.
_FLUSH_INTERVAL_S = 2.0


@dataclass(slots=True)
class Recorded:
    """The content of a recording; ``left_out`` counts the messages that the filter did not want, up
    to the last one recorded.
    """

    messages: Mapping[int, int]
    payload_bytes: int = 0
    first_timestamp_ms: int | None = None
    last_timestamp_ms: int | None = None
    left_out: int = 0

    @property
    def total(self) -> int:
        return sum(self.messages.values())

    def add(self, pairs: list[Pair]) -> None:
        times = [record.timestamp_ms for _, record in pairs if record.timestamp_ms is not None]
        if not times:
            return
        first, last = min(times), max(times)
        if self.first_timestamp_ms is None or first < self.first_timestamp_ms:
            self.first_timestamp_ms = first
        if self.last_timestamp_ms is None or last > self.last_timestamp_ms:
            self.last_timestamp_ms = last


class TopicRecorder:
    """Copies messages from a reader to a writer, until there are no more or it is told to stop."""

    def __init__(
        self,
        reader: TopicReader,
        writer: RecordingWriter,
        *,
        keep: Keep | None = None,
        change: Change | None = None,
        limit: int | None = None,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._keep = keep
        self._change = change
        self._left = limit
        self._read_messages = _READ_MESSAGES
        self.recorded = Recorded(messages=writer.counts)

    def run(self, stop_requested: Callable[[], bool], progress: TransferProgress) -> Recorded:
        """Blocks until the end. Raises the errors of the reader and the writer."""
        flush_at = monotonic() + _FLUSH_INTERVAL_S
        while not self._reader.at_end and self._left != 0 and not stop_requested():
            messages = self._reader.read(self._read_messages, _READ_TIMEOUT_S)
            if messages:
                self._write(messages)
            if monotonic() >= flush_at:
                flush_at = monotonic() + _FLUSH_INTERVAL_S
                self._writer.flush()
            progress.show(self._reader.done, self.recorded.total, self.recorded.payload_bytes)
        return self.recorded

    def _write(self, messages: list[KafkaMessage]) -> None:
        from_kafka = Record.from_kafka
        pairs = [(message.partition() or 0, from_kafka(message)) for message in messages]
        mean = sum(map(len, messages)) / len(messages) + 1
        self._read_messages = max(1, min(_READ_MESSAGES, int(_READ_BYTES / mean)))
        if self._keep is not None:
            pairs = list(self._wanted(pairs, self._keep))
        if self._left is not None:
            pairs = pairs[: self._left]
            self._left -= len(pairs)
        if self._change is not None:
            pairs = [(index, self._change(record)) for index, record in pairs]
        self._writer.write(pairs)
        self.recorded.payload_bytes = self._writer.payload_bytes
        self.recorded.add(pairs)

    def _wanted(self, pairs: list[Pair], keep: Keep) -> Iterator[Pair]:
        """At most as many as are still to be recorded; later messages are not looked at."""
        wanted = 0
        for pair in pairs:
            if wanted == self._left:
                return
            if keep(*pair):
                wanted += 1
                yield pair
            else:
                self.recorded.left_out += 1


# -- the command -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RecordRequest:
    """``end`` is None for the latest offset at the start."""

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


def record(request: RecordRequest, cluster: ClusterOptions) -> int:
    """Record a range of a topic; returns the exit code. Raises FleetError, ClickException."""
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
    if request.filter_text is None:
        return None
    try:
        return MessageFilter(request.filter_text, topic.consumer)
    except FilterError as error:
        raise click.BadParameter(str(error), param_hint="--filter") from error


def _scrubber(request: RecordRequest, topic: NamedTopic) -> Scrubber | None:
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
    first, last = moment(recorded.first_timestamp_ms), moment(recorded.last_timestamp_ms)
    if first is None or last is None:
        return ""
    return f", {first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}"
