"""Messages from anywhere through a consumer's whole pipeline: its workers, its destinations.

What is rejected here goes to a file (``consumer_fleet/replay/rejects.py``), never to a dead letter
topic: that may be where it came from.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import click
import structlog
from arroyo.types import Partition, Topic
from rich.console import Console

from consumer_fleet.bootstrap.configure import App, configure
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.errors import EXIT_OK, FleetError
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.metrics import recorder
from consumer_fleet.metrics.arroyo_bridge import install as install_arroyo_bridge
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.replay.rejects import RejectsFile, free_path
from consumer_fleet.replay.transform import Restore, load_transform
from consumer_fleet.run.local_topic import LocalChunkConsumer, LocalTopic
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.run import run_stream
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool


@dataclass(frozen=True, slots=True)
class Extent:
    """As far as anybody knows: ``total`` messages, or how much of it all is read, from 0 to 1.

    ``is_settled`` is asked after a signal, of an input that can't say by itself that nothing was
    left.
    """

    total: int | None
    read: Callable[[], float] | None = None
    is_settled: Callable[[], bool] = lambda: False

    def left(self, name: str, settled: int) -> Mapping[Partition, int] | None:
        """What ``Progress`` shows as the lag."""
        if self.total is None:
            return None
        return {Partition(Topic(name), 0): max(0, self.total - settled)}

    def share(self, settled: int) -> float | None:
        """How much is done, from 0 to 1; None where nobody knows."""
        if self.total:
            return min(1.0, settled / self.total)
        return None if self.read is None else min(1.0, self.read())


def receiver_if_needed(stack: ExitStack, options: Options) -> Mapping[str, object] | None:
    """Starts a receiver in this process where no DSN is configured, and says where it is. Gives
    the options that name it.
    """
    if options.upstream_dsn is not None or options.saas_dsn is not None:
        return None
    from consumer_fleet.inspector.receiver import Receiver  # noqa: PLC0415 - real replays need no web server

    receiver = stack.enter_context(Receiver())
    click.echo(
        "This is a demonstration: no DSN is configured (--upstream-dsn).\n"
        f"A receiver in this process takes the envelopes and shows them at {receiver.url}\n",
        err=True,
    )
    return {"upstream_dsn": str(receiver.dsn)}


def remote_destinations(options: Options) -> list[str]:
    """The destinations that are on another machine, as ``upstream sentry.example.com``."""
    dsns = (("upstream", options.upstream_dsn), ("saas", options.saas_dsn))
    return [
        f"{name} {dsn.host}"
        for name, dsn in dsns
        if dsn is not None and not _is_loopback(dsn.host.strip("[]"))
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


log = structlog.get_logger(__name__)

_DUTIES_INTERVAL_S = 1.0
_WORKER_STOP_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where chunks come from. ``name`` is for people.

    Each chunk is of ``topic``, and of a partition below ``partitions``. An iterator that gives None
    has nothing now and is asked again; one that raises a FleetError ends the replay in order.
    """

    name: str
    topic: str
    partitions: int
    chunks: Iterator[Chunk | None]
    extent: Extent


@dataclass(frozen=True, slots=True)
class Hooks:
    """What an input of the replay calls, in the run loop's thread."""

    on_poll: Callable[[], None]
    on_failure: Callable[[FleetError], None]
    on_partitions_lost: Callable[[], None]
    wait: Callable[[float], None]


Input: TypeAlias = ChunkConsumer | LocalChunkConsumer
OpenInput: TypeAlias = Callable[[Hooks], Input]


def replay_through(
    source: Source,
    consumer: str,
    *,
    options: Options,
    rejects: Path | None = None,
    transform: str | None = None,
    as_json: bool = False,
) -> int:
    """Replay a source through the consumer of that name; gives the exit code.

    Where no DSN is configured, a receiver in this process takes the envelopes and shows them.
    With ``as_json``, standard output gets one document and nothing else. Raises FleetError.
    """
    definition = registry.get(consumer)
    with ExitStack() as stack:
        demonstration = receiver_if_needed(stack, options)
        app = configure(options.with_defaults(**(demonstration or {})))
        run = ThroughRun(
            app,
            definition.decode,
            name=source.name,
            rejects=rejects or free_path(Path(source.name).name.removesuffix(".recording")),
            header=rejects_header(source.topic, source.partitions, consumer),
            transform=transform,
            is_quiet=as_json,
        )
        try:
            with run.shutdown.signals():
                code = run.run(
                    source.topic, lambda hooks: local_input(source, hooks), source.extent
                )
        finally:
            if as_json:
                click.echo(
                    json.dumps({"source": source.name, "consumer": consumer, **run.outcome()})
                )
        if demonstration is not None and code == EXIT_OK and not as_json:
            _go_on_showing()
        return code


def _go_on_showing() -> None:
    """Keep the receiver, until Ctrl-C, for a person to look at."""
    if sys.stderr.isatty():
        click.echo("The receiver goes on showing what it has. Ctrl-C ends it.", err=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def local_input(source: Source, hooks: Hooks) -> LocalChunkConsumer:
    """The source as the replay reads it: no group, no broker but arroyo's in memory."""
    topic = LocalTopic(
        Topic(source.topic), source.partitions, source.chunks, on_failure=hooks.on_failure
    )
    return LocalChunkConsumer(topic, on_poll=hooks.on_poll, wait=hooks.wait)


def rejects_header(topic: str, partitions: int, consumer: str | None) -> RecordingHeader:
    """Of the file that keeps what was rejected; the offsets that it will hold are not known yet."""
    now_ms = int(time.time() * 1000)
    return RecordingHeader(topic, partitions, now_ms, ranges={}, consumer=consumer)


class ThroughRun:
    """One replay: from the start of its workers to the summary, which it leaves out if it
    ``is_quiet``.
    """

    def __init__(
        self,
        app: App,
        decode: Decode,
        *,
        name: str,
        rejects: Path,
        header: RecordingHeader,
        transform: str | None,
        is_quiet: bool = False,
    ) -> None:
        if transform is not None:
            # Here as well, so that what is wrong with it is said before anything starts.
            load_transform(transform)
        self._options = app.options
        self._name = name
        self._consumer = header.consumer
        self._is_quiet = is_quiet
        self.shutdown = Shutdown(app.options.shutdown_timeout)
        self._pool = WorkerPool(
            WorkerSpec(decode, app.options, Restore(transform)),
            app.options.worker_count,
            message_timeout_s=app.options.message_timeout_s,
            on_failure=self.shutdown.fail,
        )
        self.rejects = RejectsFile(rejects, header, by="replay", on_failure=self.shutdown.fail)
        self._pipeline = Pipeline(
            self._pool,
            self.rejects,
            max_in_flight_bytes=app.options.max_in_flight_mb * 1024 * 1024,
        )
        self._duties_due = 0.0
        self._finished = False

    def run(self, topic: str, open_input: OpenInput, extent: Extent) -> int:
        """Blocks until the input is at its end and everything settled, or until a signal.

        Gives the exit code: the signal's, where it has left something. Raises the error that ended
        the replay.
        """
        self._pool.start()
        try:
            self._stream(topic, open_input, extent)
        finally:
            self._pool.stop(_WORKER_STOP_TIMEOUT_S)
        if self.shutdown.failure is not None:
            raise self.shutdown.failure
        return EXIT_OK if self._finished else self.shutdown.signal_code or EXIT_OK

    def outcome(self) -> dict[str, Any]:
        """What became of the messages, for scripts; after ``run``, however that has ended."""
        outcomes = self._pool.outcomes
        return {
            "delivered": outcomes.delivered,
            "filtered": dict(sorted(outcomes.filtered.items())),
            "rejected": dict(sorted(outcomes.rejected.items())),
            "rejects_file": str(self.rejects.path) if self.rejects.messages else None,
            "interrupted": self.shutdown.signal_code is not None and not self._finished,
            "complete": self._finished and self.shutdown.failure is None,
        }

    def _stream(self, topic: str, open_input: OpenInput, extent: Extent) -> None:
        install_arroyo_bridge(recorder, {"consumer": self._consumer or "replay"})
        log.info(
            "replaying",
            source=self._name,
            messages=extent.total,
            consumer=self._consumer,
            workers=self._options.worker_count,
        )
        console = Console(stderr=True)
        live = console.is_terminal and self._options.log_format != "json"
        with Progress(self._pool, console, live=live, rejected_as="rejected") as progress:
            hooks = Hooks(
                on_poll=lambda: self._duties(source, progress, extent),
                on_failure=self.shutdown.fail,
                on_partitions_lost=self._pipeline.abandon,
                wait=self._pool.wait,
            )
            source = open_input(hooks)
            try:
                run_stream(
                    source, topic, self._pipeline, self.shutdown, self._options.shutdown_timeout
                )
            finally:
                self.rejects.close(0.0)
            if not self._finished and self.shutdown.failure is None:
                # The signal may have come while the last messages were in flight.
                self._finished = self._has_settled_all(source, extent)
        self._pool.stop(_WORKER_STOP_TIMEOUT_S)
        progress.summarise(is_quiet=self._is_quiet)
        if not self._is_quiet:
            self._say_what_is_left(source)

    def _has_settled_all(self, source: Input, extent: Extent) -> bool:
        if isinstance(source, ChunkConsumer):
            return extent.is_settled()
        return source.at_end and self._pool.outcomes.total >= source.given

    def _duties(self, source: Input, progress: Progress, extent: Extent) -> None:
        """What the run loop does beside the stream, at each poll."""
        self._pool.poll()
        if source.at_end and self._pipeline.idle and not self.shutdown.requested:
            self._finished = True
            self.shutdown.request("everything is replayed")
        now = monotonic()
        if now >= self._duties_due:
            self._duties_due = now + _DUTIES_INTERVAL_S
            settled = self._pool.outcomes.total
            progress.show(extent.left(self._name, settled), extent.share(settled))

    def _say_what_is_left(self, source: Input) -> None:
        if self.rejects.messages:
            path = self.rejects.path
            through = self._consumer or "CONSUMER"
            click.echo(
                f"{self.rejects.messages:,} rejected: kept in {path}\n"
                f"  look at them:  consumer dlq list --file {path}\n"
                f"  try again:     consumer replay {path} --through {through}"
            )
        if not self._finished:
            click.echo(f"Stopped before the end of {self._name}{_settled(source)}.")


def _settled(source: Input) -> str:
    if isinstance(source, ChunkConsumer):
        return ": what is left is replayed the next time"
    places = [f"partition {p.index} to {offset}" for p, offset in sorted(source.settled.items())]
    return f"; settled: {', '.join(places) or 'nothing'} (that offset is the next)"
