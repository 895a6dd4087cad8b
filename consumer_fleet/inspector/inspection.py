"""``consumer inspect``: open the requested source, feed the store, and serve the page."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from arroyo.types import Partition, Topic

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.codec import Decode
from consumer_fleet.command_options import resolve_cluster
from consumer_fleet.consumers import registry
from consumer_fleet.consumers.registry import ConsumerDefinition
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.inspector.coverage.service import (
    CODECOV_URL,
    CodecovSettings,
    CoverageSettings,
    PathMapping,
)
from consumer_fleet.inspector.demo import REPORT, demo_feed
from consumer_fleet.inspector.entry import EntrySource, SourceKind
from consumer_fleet.inspector.feeder import (
    Feed,
    Feeder,
    dead_letter_feed,
    recording_feed,
    topic_feed,
)
from consumer_fleet.inspector.lookup import EventLookup, OpenRecords, build_lookup
from consumer_fleet.inspector.receiver import Receiver, View
from consumer_fleet.inspector.security import TOKEN_VARIABLE, Access
from consumer_fleet.inspector.source import SourceRoot
from consumer_fleet.inspector.store import Store
from consumer_fleet.kafka.chunk import Record
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.offset_spec import OffsetSpec, parse_offset_spec
from consumer_fleet.kafka.reader import TopicReader
from consumer_fleet.recording.reader import Recording
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.targets import consumer_of_topic, named_topic

LATEST_MESSAGES = 1000
CODECOV_VARIABLE = "CODECOV_TOKEN"
# A link with a script would run it.
_EDITOR_SCHEME = re.compile(r"(?!javascript:|data:|vbscript:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_READ_TIMEOUT_S = 0.1
_STOP_TIMEOUT_S = 10.0
_MEGABYTE = 1024 * 1024
_M_MMAP_THRESHOLD = -3  # of malloc.h
_TITLES: Mapping[SourceKind, str] = {
    "receiver": "{}",
    "topic": "Inspecting topic {!r}",
    "dlq": "Inspecting dead-letter topic {!r}",
    "recording": "Inspecting recording {!r}",
    "demo": "Inspecting {}",
}


@dataclass(frozen=True, slots=True)
class InspectRequest:
    """The command line of ``consumer inspect``: one field for each option."""

    options: OptionsRequest
    file: Path | None
    topic: str | None
    dlq: str | None
    demo: bool
    consumer: str | None
    start: str | None
    host: str
    port: int
    token_file: Path | None
    allow_host: tuple[str, ...]
    allow_origin: tuple[str, ...]
    opens: bool
    store: Path | None
    keep: int
    keep_mb: int
    coverage: tuple[Path, ...]
    path_map: tuple[str, ...]
    codecov_repo: str | None
    codecov_service: str
    codecov_branch: str | None
    codecov_url: str | None
    codecov_token_file: Path | None
    source_root: Path | None
    editor_link: str | None

    @property
    def sources(self) -> list[str]:
        """The options that name a source; at most one is allowed."""
        values = {"FILE": self.file, "--topic": self.topic, "--dlq": self.dlq}
        named = [option for option, value in values.items() if value is not None]
        return [*named, "--demo"] if self.demo else named

    @property
    def reads_kafka(self) -> bool:
        return self.topic is not None or self.dlq is not None

    def access(self) -> Access:
        """The access settings. Raises ConfigurationError, also for an unreadable token file."""
        token = _secret(self.token_file, TOKEN_VARIABLE)
        return Access(self.host, token, self.allow_host, self.allow_origin)

    def view(self, opened: OpenedSource, coverage: CoverageSettings) -> View:
        """The parts of the page. Raises ConfigurationError."""
        link = self.editor_link
        if link is not None and ("{path}" not in link or not _EDITOR_SCHEME.match(link)):
            raise ConfigurationError(
                f"{link!r} is not a link to an editor: expected one with {{path}}, for example "
                "vscode://file{path}:{line}"
            )
        root = None
        if self.source_root is not None:
            root = SourceRoot(self.source_root, coverage.path_mappings)
        return View(
            opened.source,
            coverage=coverage,
            lookup=opened.lookup,
            source_root=root,
            editor_link=link,
        )

    def coverage_settings(self) -> CoverageSettings:
        """The coverage settings. Raises ConfigurationError, also for a missing Codecov token."""
        reports = self.coverage or ((REPORT,) if self.demo else ())
        mappings = tuple(PathMapping.parse(text) for text in self.path_map)
        return CoverageSettings(reports, mappings, self._codecov())

    def _codecov(self) -> CodecovSettings | None:
        if self.codecov_repo is None:
            return None
        token = _secret(self.codecov_token_file, CODECOV_VARIABLE)
        if token is None:
            raise ConfigurationError(
                f"--codecov-repo requires a token: --codecov-token-file F, or {CODECOV_VARIABLE} "
                "in the environment"
            )
        return CodecovSettings(
            token,
            self.codecov_repo,
            self.codecov_service,
            base_url=self.codecov_url or CODECOV_URL,
            branch=self.codecov_branch,
        )


def _secret(path: Path | None, variable: str) -> str | None:
    """Read it from the file or the environment; other users can read the command line."""
    if path is None:
        return os.environ.get(variable, "").strip() or None
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"can't read a token from {path}: {error}") from error
    if not secret:
        raise ConfigurationError(f"{path} is empty: it must contain the token")
    return secret


def inspect(request: InspectRequest) -> None:
    """Serve the page until a signal. Parts close in reverse order of opening."""
    access, coverage = request.access(), request.coverage_settings()
    cluster = resolve_cluster(request.options, needs_broker=request.reads_kafka)
    _return_freed_memory()
    shutdown = Shutdown(_STOP_TIMEOUT_S)
    with shutdown.signals(), ExitStack() as stack:
        store = Store(request.store, max_rows=request.keep, max_bytes=request.keep_mb * _MEGABYTE)
        stack.callback(store.close)
        opened = Opener(request, cluster, store, stack).open()
        receiver = Receiver(store, access=access, view=request.view(opened, coverage))
        receiver.start(request.port)
        stack.callback(receiver.stop)
        if opened.feed is not None:
            skip_known = request.store is not None
            feeder = Feeder(store, opened.feed, opened.source, skip_known=skip_known)
            feeder.start()
            stack.callback(feeder.stop)
        click.echo(_greeting(opened.source, receiver, access))
        if request.opens:
            click.launch(receiver.url)
        while not shutdown.requested:
            shutdown.wait(3600.0)


def _return_freed_memory() -> None:
    """Return the memory of each large envelope to the system when it is freed.

    After the first ones, glibc would keep some tens of megabytes in each thread.
    """
    with suppress(OSError, AttributeError):  # other C libraries don't have it
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MEGABYTE)


def _greeting(source: EntrySource, receiver: Receiver, access: Access) -> str:
    lines = [_TITLES[source.kind].format(source.name), f"  Page  {receiver.url}"]
    if access.token is not None:
        lines.append(f"        first visit: {receiver.url}?token=TOKEN, with your token")
    if source.kind == "receiver":
        lines.append(f"  DSN   {receiver.dsn}")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """An opened source. Without a feed, entries come only from the envelope endpoint."""

    source: EntrySource
    feed: Feed | None = None
    lookup: EventLookup | None = None


class Opener:
    """Opens the source of a request; ``stack`` closes its parts afterwards.

    Raises FleetError if the source can't be opened. Blocks on the broker or the disk.
    """

    def __init__(
        self, request: InspectRequest, cluster: ClusterOptions, store: Store, stack: ExitStack
    ) -> None:
        self._request = request
        self._options = cluster.options
        self._kafka = cluster.kafka
        self._store = store
        self._stack = stack

    def open(self) -> OpenedSource:
        request = self._request
        if request.topic is not None:
            return self._topic(request.topic)
        if request.dlq is not None:
            return self._dead_letters(request.dlq)
        if request.file is not None:
            return self._recording(request.file)
        if request.demo:
            return OpenedSource(EntrySource("demo", "synthetic events"), demo_feed())
        return OpenedSource(EntrySource("receiver", "Receiving envelopes"))

    def _topic(self, name: str) -> OpenedSource:
        definition = self._definition(name)
        topic = named_topic(name, self._options).physical
        reader = self._reader(topic)
        decode = definition.decode
        records = topic_records(self._kafka, topic)
        lookup = build_lookup(store=self._store, topic=records, decode=decode)
        return OpenedSource(EntrySource("topic", topic), topic_feed(reader, decode), lookup)

    def _dead_letters(self, topic: str) -> OpenedSource:
        consumer = self._request.consumer

        def find_decode(origin: str) -> Decode | None:
            definition = consumer_of_topic(consumer or origin, self._options)
            return None if definition is None else definition.decode

        if consumer is not None:
            registry.get(consumer)  # its error lists the consumers
        reader = self._reader(topic)
        return OpenedSource(EntrySource("dlq", topic), dead_letter_feed(reader, find_decode))

    def _recording(self, path: Path) -> OpenedSource:
        recording = Recording(path)
        header = recording.header
        decode = self._definition(header.consumer or header.topic).decode

        def records() -> Iterator[tuple[Partition, Record]]:
            for index, record in recording.messages():
                yield Partition(Topic(header.topic), index), record

        lookup = build_lookup(store=self._store, recording=records, decode=decode)
        feed = recording_feed(recording, decode)
        return OpenedSource(EntrySource("recording", path.name), feed, lookup)

    def _reader(self, topic: str) -> TopicReader:
        start = None
        if self._request.start is not None:
            start = parse_offset_spec(self._request.start, time.time(), relative=True)
        cluster = Cluster(self._kafka)
        cluster.check_reachable()
        if start is None:
            # An equal share for each partition; the division rounds it up, away from zero.
            start = OffsetSpec("relative", -LATEST_MESSAGES // cluster.partitions(topic))
        reader = TopicReader(self._kafka, topic, start=start, end=None)
        self._stack.callback(reader.close)
        return reader

    def _definition(self, name: str) -> ConsumerDefinition:
        if self._request.consumer is not None:
            return registry.get(self._request.consumer)
        definition = consumer_of_topic(name, self._options)
        if definition is None:
            known = ", ".join(registry.names())
            raise ConfigurationError(
                f"unknown message format of {name!r}: name its consumer with --consumer (one of "
                f"{known})"
            )
        return definition


def topic_records(base_config: Mapping[str, Any], topic: str) -> OpenRecords:
    """A topic's messages for ``build_lookup``. Connects again for each search.

    Reads from the oldest message to the newest one at the start. Raises ConfigurationError and
    KafkaUnreachable, like ``TopicReader``.
    """

    def read() -> Iterator[tuple[Partition, Record] | None]:
        with TopicReader(base_config, topic) as reader:
            while not reader.at_end:
                messages = reader.read(timeout_s=_READ_TIMEOUT_S)
                if not messages:
                    yield None
                for message in messages:
                    partition = Partition(Topic(topic), message.partition() or 0)
                    yield partition, Record.from_kafka(message)

    return read
