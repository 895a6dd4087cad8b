"""Replays in tests: a consumer's own run over recorded messages, in this process and in memory."""

from __future__ import annotations

import logging
import math
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from operator import methodcaller
from time import monotonic
from typing import Final, Protocol

import structlog
from arroyo.types import Partition

from consumer_fleet.bootstrap.destinations import capture_options
from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.capture.transport import MultiplexingTransport, build_transport
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.errors import EXIT_BUG, ConfigurationError, FleetError
from consumer_fleet.kafka.chunk import Chunk, DeadLetter
from consumer_fleet.metrics import recorder
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.run.parts import Steps
from consumer_fleet.run.run import Lane, Run
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.run.sources import LocalSource
from consumer_fleet.targets import consumer_of_topic
from consumer_fleet.testing.captured import Answers, DeadLettered, InMemoryDestinations, Origin
from consumer_fleet.testing.expectation import Replayed, in_order, named_metrics
from consumer_fleet.worker import protocol
from consumer_fleet.worker.decoding import build_decode
from consumer_fleet.worker.multiprocess_worker import WorkerSpec, serve
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.process import FramePipe
from consumer_fleet.worker.protocol import SharedState
from consumer_fleet.worker.work import OutcomeCounts

log = structlog.get_logger(__name__)


@contextmanager
def warnings_to_stderr() -> Iterator[None]:
    """Print warnings and errors within the block; pytest shows them with a failed test.

    Not through ``logging``: the tested project's own SDK would report them. Nothing is changed if
    the project has configured structlog itself.
    """
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            # Plain: the default shows local variables, which are screens full of payloads.
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


_MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
# Everything is settled by then, or the replay has failed and waits for nothing.
_DRAIN_TIMEOUT_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 1.0
_HANG_CHECK_INTERVAL_S: Final = 0.05
# A killed worker that is not busy has ended by then.
_GRACE_S: Final = 0.5
_CONTEXT = get_context("spawn")

# pytest shows the test's own line for an error that its message explains.
_hides: Final = methodcaller("errisinstance", FleetError)


class ReplayFailed(FleetError):
    """A replay did not reach its end: the message says what it hung on."""


class Replayable(Protocol):
    """A recording, from a file or made by a test."""

    @property
    def header(self) -> RecordingHeader: ...

    def chunks(self) -> Iterator[Chunk]: ...


def replay(
    recording: Replayable,
    consumer: str | None = None,
    *,
    decode: Decode | None = None,
    saas: float = 0.0,
    upstream_metrics_enabled: bool = False,
    answers: Answers | None = None,
    timeout_s: float = 30.0,
) -> Replayed:
    """Replay a recording to its end. Blocks; touches nothing outside this call.

    ``consumer`` is the recording's own by default; ``decode`` is a codec of your own instead.
    ``saas`` is the share of messages that the second destination gets, True for all. ``answers``
    returns a destination's response to an envelope: 200 by default. Raises ReplayFailed after
    ``timeout_s`` in which nothing was settled, RecordingError for a damaged file.
    """
    __tracebackhide__ = _hides
    assembles = False
    if decode is None:
        message_format = _definition(recording.header, consumer).format
        decode, assembles = message_format.decode, message_format.assembles
    options = _options(saas, upstream_metrics_enabled=upstream_metrics_enabled)
    spec = WorkerSpec(decode, options)
    with warnings_to_stderr(), recorder.apart() as measured:
        memory = _MemoryReplay(recording, spec, answers, timeout_s, assembles=assembles)
        outcomes = memory.run()
        accepted = memory.destinations.accepted
        return Replayed(
            envelopes={name: in_order(them) for name, them in accepted.items()},
            dead_letters=sorted(memory.letters.kept, key=lambda letter: letter.origin),
            filtered=dict(sorted(outcomes.filtered.items())),
            commits=memory.source.settled,
            delivered=outcomes.delivered,
            metrics=named_metrics(measured()),
        )


def _options(saas: float, *, upstream_metrics_enabled: bool) -> Options:
    given = {
        "upstream_dsn": "http://replay@upstream.invalid/1",
        "saas_dsn": "http://replay@saas.invalid/2" if saas else None,
        "store_use_relay_dsn_sample_rate": float(saas),
        "sentry_sdk_upstream_metrics_enabled": upstream_metrics_enabled,
        # A limit that a test's answers set is to be seen, not passed by.
        "hold_at_most_s": 0.0,
        # Tells which message an envelope in memory belongs to.
        "envelope_origin": True,
        # A recording is as old as it is.
        "check_in_max_age_s": 0,
    }
    return resolve_options(OptionsRequest(given), environ={}).options


def _definition(header: RecordingHeader, consumer: str | None) -> registry.ConsumerDefinition:
    if consumer is None:
        consumer = header.consumer
    if consumer is not None:
        return registry.get(consumer)
    found = consumer_of_topic(header.topic, Options())
    if found is None:
        raise ConfigurationError(
            f"the consumer of the topic {header.topic!r} is unknown: give consumer=… or decode=…"
        )
    return found


class _MemoryReplay:
    """One replay of a recording: a ``Run`` with a worker in a thread, and all else in memory."""

    def __init__(
        self,
        recording: Replayable,
        spec: WorkerSpec,
        answers: Answers | None,
        timeout_s: float,
        *,
        assembles: bool,
    ) -> None:
        header = recording.header
        self._test_error: BaseException | None = None
        self.destinations = InMemoryDestinations(answers, self._on_test_error)
        self.letters = InMemoryRejects()
        self.source = LocalSource(header.topic, header.partitions, recording.chunks())
        steps = Steps(
            spec,
            1,
            # The time limit of the replay ends it: a thread can't be killed and replaced.
            math.inf,
            _MAX_IN_FLIGHT_BYTES,
            partial(InProcessWorker, build=self._build_transport),
            stop_timeout_s=_STOP_TIMEOUT_S,
        )
        self._run = Run(
            [Lane(self.source, lambda: self.letters, assembles=assembles)],
            steps,
            Shutdown(_DRAIN_TIMEOUT_S),
            duties=[_HangWatch(timeout_s)],
            duty_interval_s=_HANG_CHECK_INTERVAL_S,
        )

    def _build_transport(self, options: Options) -> MultiplexingTransport:
        return build_transport(capture_options(options), self.destinations.open_posts)

    def _on_test_error(self, error: BaseException) -> None:
        """Called in the worker's thread."""
        self._test_error = error
        self._run.shutdown.request("the test's answers failed")

    def run(self) -> OutcomeCounts:
        __tracebackhide__ = _hides
        self._run.run()
        failure = self._test_error or self._run.shutdown.failure
        if failure is not None:
            raise failure
        return self._run.pool.outcomes


class _HangWatch:
    """A duty that ends a replay in which nothing was settled for ``timeout_s``."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._settled = 0
        self._settled_at = monotonic()

    def __call__(self, run: Run) -> None:
        settled, now = run.pool.outcomes.total, monotonic()
        if settled != self._settled:
            self._settled, self._settled_at = settled, now
        elif now - self._settled_at > self._timeout_s:
            run.shutdown.fail(ReplayFailed(self._reason(run.pool)))

    def _reason(self, pool: WorkerPool) -> str:
        closed = [each for each in pool.statuses() if each.state != "open"]
        why = [f"the codec has not returned from {position}" for position in pool.holding()]
        why += [f"{each.name} is {each.state.replace('_', ' ')}: {each.reason}" for each in closed]
        return "; ".join([f"nothing was settled for {self._timeout_s:g} s", *why])


class MemoryTicket:
    kept = False


class InMemoryRejects:
    """A ``RejectStore`` in memory. It acknowledges at the next poll, like a broker."""

    def __init__(self) -> None:
        self.kept: list[DeadLettered] = []
        self._open: list[MemoryTicket] = []
        self.is_off = False
        self.blocked = False

    @property
    def idle(self) -> bool:
        return not self._open

    def produce(self, partition: Partition, letter: DeadLetter) -> MemoryTicket:
        record = letter.record
        origin = Origin(partition.topic.name, partition.index, record.offset)
        self.kept.append(DeadLettered(letter.reason, letter.detail, origin, record))
        ticket = MemoryTicket()
        self._open.append(ticket)
        return ticket

    def poll(self, timeout_s: float = 0.0) -> None:
        for ticket in self._open:
            ticket.kept = True
        self._open.clear()

    def forget_all(self) -> None:
        self._open.clear()

    def close(self, timeout_s: float) -> None:
        """It keeps what it has."""


# -- the worker ------------------------------------------------------------------------------------


class InProcessWorker:
    """A worker (``WorkerHandle``) without a process; starts at its construction.

    Its pipe, the frames on it, its loop and the pickled spec are those of a worker process. Its
    boot is not: ``build`` makes the transport from the options, and nothing that belongs to the
    whole process (logging, metrics, the SDK, signals) is touched. Raises ConfigurationError if the
    spec would not reach another process.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        number: int,
        on_frame: Callable[[], None],
        *,
        build: Callable[[Options], MultiplexingTransport],
    ) -> None:
        self.started_at = monotonic()
        self.shared = SharedState(_CONTEXT)
        self.exit_code: int | None = None
        self._spec = _sent_across(spec)
        self._build = build
        self._killed = False
        self._ours, self._theirs = _CONTEXT.Pipe(duplex=True)
        name = f"in-process-worker-{number}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._pipe = FramePipe(self._ours, name, on_frame)

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def send(self, frame: bytes) -> None:
        self._pipe.send(frame)

    def take_frames(self) -> list[bytes]:
        return self._pipe.take_frames()

    def stop(self) -> None:
        self.send(protocol.STOP)

    def kill(self) -> None:
        """Cut the pipe. A thread can't be killed: a busy one ends when the codec returns."""
        self._killed = True
        self.exit_code = EXIT_BUG
        with socket.fromfd(self._ours.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.shutdown(socket.SHUT_RDWR)

    def join(self, timeout_s: float) -> bool:
        self._thread.join(min(timeout_s, _GRACE_S) if self._killed else timeout_s)
        if self._thread.is_alive() and not self._killed:
            return False
        self._pipe.close()
        return True

    def _run(self) -> None:
        transport: MultiplexingTransport | None = None
        exit_code = EXIT_BUG
        try:
            spec = self._spec
            transport = self._build(spec.options)
            decode = build_decode(spec.decode, spec.options)
            serve(decode, transport, self._theirs, self.shared, spec.options, spec.prepare)
            exit_code = 0
        except (Exception, SystemExit):
            # As in a process: the pool starts another worker and sends again.
            if not self._killed:
                log.exception("worker_failed")
        finally:
            if transport is not None:
                transport.kill()
            self._theirs.close()
            self.exit_code = exit_code


def _sent_across(spec: WorkerSpec) -> WorkerSpec:
    """Return the spec as another process would get it."""
    try:
        received = pickle.loads(ForkingPickler.dumps(spec))  # noqa: S301 - pickled right here
    except (pickle.PicklingError, AttributeError, TypeError, ImportError) as error:
        raise ConfigurationError(
            f"the codec {spec.decode!r} can't be sent to a worker process: {error}. Make it a "
            "function at the top level of a module"
        ) from error
    assert isinstance(received, WorkerSpec)
    return received
