"""Replays through a consumer's whole pipeline: its workers, its destinations.

``consumer replay --through`` and ``consumer dlq replay`` share it. Rejected messages go to a file,
never to a dead-letter topic: they may have come from there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import click
import structlog
from arroyo.types import Partition, Topic

from consumer_fleet.bootstrap.configure import App, configure
from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.option_checks import has_dsn
from consumer_fleet.bootstrap.options import ClusterOptions, Options
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.dead_letter_headers import restore, with_facts
from consumer_fleet.errors import EXIT_OK, FleetError, OutputError
from consumer_fleet.kafka.chunk import Chunk, DeadLetter, Pair, Record
from consumer_fleet.metrics import recorder
from consumer_fleet.metrics.arroyo_bridge import install as install_arroyo_bridge
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.recording.reader import chunks_of
from consumer_fleet.recording.writer import RecordingWriter
from consumer_fleet.replay.batches import ReplayRequest
from consumer_fleet.replay.transform import Restore, load_transform
from consumer_fleet.run.parts import Steps
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.run import Lane, Run
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.sources import GroupSource, Length, LocalSource
from consumer_fleet.worker.multiprocess_worker import WorkerSpec

log = structlog.get_logger(__name__)


def run_through(request: ReplayRequest, consumer: str, cluster: ClusterOptions) -> int:
    """``consumer replay --through``; returns the exit code. Raises FleetError, click.UsageError.

    Without a DSN, a receiver in this process takes the envelopes and shows them.
    """
    remote = remote_destinations(cluster.options)
    if remote and not request.yes:
        raise click.UsageError(
            f"delivering to {' and '.join(remote)} requires confirmation: add --yes, or name a DSN "
            "on this machine with --upstream-dsn"
        )
    read = request.open_source(cluster)

    def read_share() -> float:
        limit = request.limit or float("inf")
        return max(read.given / limit, read.done / max(1, read.total))

    try:
        chunks = _chunks(request.batches(read, request.rewriter(read)), Topic(read.topic))
        source = LocalSource(read.topic, read.partitions, chunks, Length(read=read_share))
        through = Through(
            read.name,
            read.partitions,
            consumer,
            request.transform,
            request.rejects,
            is_quiet=request.as_json,
            assembles=registry.get(consumer).format.assembles,
        )
        return _run_through(source, through, cluster.options)
    finally:
        read.close()


def _chunks(batches: Iterator[list[Pair]], topic: Topic) -> Iterator[Chunk | None]:
    for batch in batches:
        yield from chunks_of(topic, batch) if batch else (None,)


def _run_through(source: LocalSource, through: Through, options: Options) -> int:
    consumer = registry.get(str(through.consumer))
    with ExitStack() as stack:
        demonstration = _receiver_if_needed(stack, options)
        app = configure(options.with_defaults(**demonstration))
        replay = ThroughReplay(app, source, consumer.decode, through)
        try:
            code = replay.run()
        finally:
            if through.is_quiet:
                facts = {"source": through.name, "consumer": consumer.name}
                click.echo(json.dumps({**facts, **replay.outcome()}))
        if demonstration and code == EXIT_OK and not through.is_quiet:
            _keep_showing()
        return code


def _receiver_if_needed(stack: ExitStack, options: Options) -> Mapping[str, object]:
    """Without a DSN, start a receiver in this process; returns the options that name it."""
    if has_dsn(options):
        return {}
    from consumer_fleet.inspector.receiver import Receiver  # noqa: PLC0415 - real replays need no web server

    receiver = stack.enter_context(Receiver())
    click.echo(
        "This is a demonstration: no DSN is configured (--upstream-dsn).\n"
        f"A receiver in this process takes the envelopes and shows them at {receiver.url}\n",
        err=True,
    )
    return {"upstream_dsn": str(receiver.dsn)}


def _keep_showing() -> None:
    """Keep the receiver, until Ctrl-C, for a person to look at."""
    if sys.stderr.isatty():
        click.echo("The receiver keeps showing what it has. Ctrl-C ends it.", err=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def remote_destinations(options: Options) -> list[str]:
    """Return the destinations on other machines, as ``upstream sentry.example.com``."""
    return [
        f"{each.name} {each.dsn.host}"
        for each in capture_options(options).destinations
        if not _is_loopback(each.dsn.host.strip("[]"))
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Through:
    """How to replay: ``name`` and ``partitions`` are the source's; ``consumer`` is None if several
    consumers take part; ``transform`` is MODULE:FUNCTION.
    """

    name: str
    partitions: int
    consumer: str | None
    transform: str | None = None
    rejects: Path | None = None
    is_quiet: bool = False
    assembles: bool = False


class ThroughReplay:
    """One replay through the pipeline, and its outcome."""

    def __init__(
        self, app: App, source: GroupSource | LocalSource, decode: Decode, through: Through
    ) -> None:
        if through.transform is not None:
            # Here as well, so that an error in it is reported before anything starts.
            load_transform(through.transform)
        self._source = source
        self._through = through
        shutdown = Shutdown(app.options.shutdown_timeout)
        self.rejects = RejectsFile(
            through.rejects or free_path(Path(through.name).name.removesuffix(".recording")),
            rejects_header(source.topic, through.partitions, through.consumer),
            by="replay",
            on_failure=shutdown.fail,
        )
        install_arroyo_bridge(recorder, {"consumer": through.consumer or "replay"})
        self._run = Run(
            [Lane(source, lambda: self.rejects, assembles=through.assembles)],
            Steps.of(WorkerSpec(decode, app.options, Restore(through.transform)), app.options),
            shutdown,
            progress=Progress.on_stderr(
                app.options, rejected_as="rejected", is_quiet=through.is_quiet
            ),
        )
        log.info(
            "replaying",
            source=through.name,
            messages=source.rest(0).left,
            consumer=through.consumer,
            workers=app.options.worker_count,
        )

    def run(self) -> int:
        """Block until the source is at its end and everything settled, or until a signal.

        Returns the exit code: the signal's, if it left anything. Raises the error that ended it.
        """
        shutdown = self._run.shutdown
        with shutdown.signals():
            self._run.run()
        if not self._through.is_quiet:
            self._print_what_is_left()
        shutdown.raise_failure()
        return EXIT_OK if self._run.is_complete else shutdown.signal_code or EXIT_OK

    def outcome(self) -> dict[str, Any]:
        """Return the outcome for scripts; after ``run``, however that has ended."""
        outcomes, shutdown = self._run.pool.outcomes, self._run.shutdown
        is_complete = self._run.is_complete
        return {
            "delivered": outcomes.delivered,
            "filtered": dict(sorted(outcomes.filtered.items())),
            "rejected": dict(sorted(outcomes.rejected.items())),
            "rejects_file": str(self.rejects.path) if self.rejects.messages else None,
            "interrupted": shutdown.signal_code is not None and not is_complete,
            "complete": is_complete and shutdown.failure is None,
        }

    def _print_what_is_left(self) -> None:
        if self.rejects.messages:
            path = self.rejects.path
            consumer = self._through.consumer or "CONSUMER"
            click.echo(
                f"{self.rejects.messages:,} rejected, kept in {path}\n"
                f"  list them:  consumer dlq list --file {path}\n"
                f"  try again:  consumer replay {path} --through {consumer}"
            )
        if not self._run.is_complete:
            click.echo(f"Stopped before the end of {self._through.name}{self._rest()}.")

    def _rest(self) -> str:
        if isinstance(self._source, GroupSource):
            return "; the next replay continues there"
        settled = [f"partition {i} up to offset {n}" for i, n in self._source.settled.items()]
        return f"; settled: {', '.join(settled) or 'nothing'} (that offset comes next)"


# -- rejected messages -----------------------------------------------------------------------------


def rejects_header(topic: str, partitions: int, consumer: str | None) -> RecordingHeader:
    """Return the header of the file of rejected messages, whose offsets are not known yet."""
    now_ms = int(time.time() * 1000)
    return RecordingHeader(topic, partitions, now_ms, ranges={}, consumer=consumer)


class FileTicket:
    """The promise that one rejected message will be in the file. ``kept`` once it is on disk."""

    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept = False


class RejectsFile:
    """A ``RejectStore`` in a recording, made with the first rejected message.

    A message is kept once the file is forced to the disk, which ``poll`` does for all that came
    since the last call. A file that can't be written ends the run, through ``on_failure``, and
    nothing that it should hold is settled. Lives in the run loop's thread.

    Construction raises OutputError if the file exists or can't be made.
    """

    #: It always takes messages, or fails.
    blocked = False

    def __init__(
        self,
        path: Path,
        header: RecordingHeader,
        *,
        by: str,
        on_failure: Callable[[FleetError], None],
    ) -> None:
        _refuse(path)
        self.path = path
        #: Messages in the file.
        self.messages = 0
        #: The file can't be written: no ticket will be kept any more.
        self.is_off = False
        self._header = header
        self._by = by
        self._on_failure = on_failure
        self._writer: RecordingWriter | None = None
        self._waiting: list[tuple[int, Record, FileTicket]] = []

    @property
    def idle(self) -> bool:
        return not self._waiting

    def produce(self, partition: Partition, letter: DeadLetter) -> FileTicket:
        """Hand over one rejected message. Writes nothing yet."""
        facts = letter.facts(partition, self._by)
        restored = restore(letter.record.headers)
        headers = letter.record.headers
        if restored is not None:
            # With the new reason, and its first position: the earlier reason is out of date.
            headers, origin = restored.headers, restored.origin
            facts = origin._replace(reason=facts.reason, detail=facts.detail, group=self._by)
        log.warning(
            "replay_rejected", origin=facts.position, reason=facts.reason, detail=facts.detail[:200]
        )
        ticket = FileTicket()
        record = letter.record._replace(headers=with_facts(headers, facts))
        self._waiting.append((partition.index, record, ticket))
        return ticket

    def poll(self, timeout_s: float = 0.0) -> None:
        """Force what came since the last call to the disk. Blocks for that long."""
        if not self._waiting or self.is_off:
            return
        waiting, self._waiting = self._waiting, []
        try:
            if self._writer is None:
                self._writer = RecordingWriter(self.path, self._header)
            self._writer.write((index, record) for index, record, _ in waiting)
            self._writer.sync()
        except OutputError as error:
            self.is_off = True
            self._on_failure(error)
            return
        self.messages += len(waiting)
        for _, _, ticket in waiting:
            ticket.kept = True

    def forget_all(self) -> None:
        self._waiting.clear()

    def close(self, timeout_s: float) -> None:
        """Complete the file, if there is one. Raises OutputError where that fails."""
        if self._writer is None:
            return
        with self._writer as writer:
            if not self.is_off:
                writer.complete()


def _refuse(path: Path) -> None:
    """Fail at the start of a replay, not in the middle, for what can be known by then."""
    for taken in (path, partial_path(path)):
        try:
            taken.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(
                f"{taken} can't be written: {error.strerror}; name another file with --rejects"
            ) from error
        raise OutputError(f"{taken} exists: name another file with --rejects, or move this one")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} can't be written: is {path.parent} a folder, and writable?")


def partial_path(path: Path) -> Path:
    """Return the file's name until it is complete."""
    return path.with_name(f"{path.name}.partial")


def free_path(name: str) -> Path:
    """Return ``NAME.rejected.recording`` in the working directory, numbered if that exists."""
    for number in count(1):
        more = "" if number == 1 else f"-{number}"
        path = Path(f"{name}.rejected{more}.recording")
        if not os.path.lexists(path) and not os.path.lexists(partial_path(path)):
            break
    return path
