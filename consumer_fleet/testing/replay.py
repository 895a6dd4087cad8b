"""Runs a consumer's own pipeline over recorded messages, in this process and in memory."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from operator import methodcaller
from time import monotonic
from typing import Final, Protocol

import structlog
from arroyo.types import Partition, Topic

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.capture.transport import MultiplexingTransport, build_transport
from consumer_fleet.codec import Decode
from consumer_fleet.consumers import registry
from consumer_fleet.errors import ConfigurationError, FleetError
from consumer_fleet.kafka.chunk import Chunk, DeadLetter
from consumer_fleet.metrics import recorder
from consumer_fleet.recording.format import RecordingHeader
from consumer_fleet.run.local_topic import LocalChunkConsumer, LocalTopic
from consumer_fleet.run.run import run_stream
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.targets import consumer_of_topic
from consumer_fleet.testing.captured import Answers, DeadLettered, InMemoryDestinations, Origin
from consumer_fleet.testing.expectation import Replayed, in_order, named_metrics
from consumer_fleet.testing.in_process import InProcessWorker
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool


@contextmanager
def warnings_to_stderr() -> Iterator[None]:
    """Within the block, print warnings and errors, which pytest shows with a failed test.

    Not through ``logging``: the tested project's own SDK would report them. A project that has
    configured structlog itself knows better, and nothing is changed.
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
_JOIN_TIMEOUT_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 1.0


# pytest shows the test's own line for an error that its message explains.
_hides: Final = methodcaller("errisinstance", FleetError)


class ReplayFailed(FleetError):
    """A replay did not come to its end: says what it hung on."""


class Replayable(Protocol):
    """A recording, from a file or made up by a test."""

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
    says what a destination does with an envelope: 200 by default. Raises ReplayFailed after
    ``timeout_s`` in which nothing was settled, RecordingError for a damaged file.
    """
    __tracebackhide__ = _hides
    if decode is None:
        decode = _definition(recording.header, consumer).decode
    options = {
        "upstream_dsn": "http://replay@upstream.invalid/1",
        "saas_dsn": "http://replay@saas.invalid/2" if saas else None,
        "store_use_relay_dsn_sample_rate": float(saas),
        "sentry_sdk_upstream_metrics_enabled": upstream_metrics_enabled,
        # How an envelope in memory is known to be of one message.
        "envelope_origin": True,
    }
    spec = WorkerSpec(decode, resolve_options(OptionsRequest(options), environ={}).options)
    with warnings_to_stderr(), recorder.apart() as measured:
        run = _Replay(recording, spec, answers, timeout_s)
        run.run()
        return Replayed(
            envelopes={name: in_order(them) for name, them in run.destinations.accepted.items()},
            dead_letters=sorted(run.letters.kept, key=lambda letter: letter.origin),
            filtered=dict(sorted(run.pool.outcomes.filtered.items())),
            commits=run.commits(),
            delivered=run.pool.outcomes.delivered,
            metrics=named_metrics(measured()),
        )


def _definition(header: RecordingHeader, consumer: str | None) -> registry.ConsumerDefinition:
    if consumer is None:
        consumer = header.consumer
    if consumer is not None:
        return registry.get(consumer)
    found = consumer_of_topic(header.topic, Options())
    if found is None:
        raise ConfigurationError(
            f"nothing says which consumer reads the topic {header.topic!r}: give consumer=… or "
            "decode=…"
        )
    return found


class _Replay:
    """One replay, and what is kept of it."""

    def __init__(
        self,
        recording: Replayable,
        spec: WorkerSpec,
        answers: Answers | None,
        timeout_s: float,
    ) -> None:
        header = recording.header
        self._shutdown = Shutdown(_JOIN_TIMEOUT_S)
        self._test_error: BaseException | None = None
        self.destinations = InMemoryDestinations(answers, self._on_test_error)
        self.letters = _InMemoryStore()
        self.pool = WorkerPool(
            spec,
            1,
            # Its own limit is the one that ends a replay: a thread can't be killed and replaced.
            message_timeout_s=math.inf,
            on_failure=self._shutdown.fail,
            start_worker=partial(InProcessWorker, build=self._build_transport),
        )
        self._pipeline = Pipeline(self.pool, self.letters, max_in_flight_bytes=_MAX_IN_FLIGHT_BYTES)
        topic = Topic(header.topic)
        self._consumer = LocalChunkConsumer(
            LocalTopic(
                topic, header.partitions, recording.chunks(), on_failure=self._shutdown.fail
            ),
            on_poll=self._before_poll,
            wait=self.pool.wait,
        )
        self._topic = header.topic
        self._timeout_s = timeout_s
        self._settled = 0
        self._settled_at = monotonic()

    def _build_transport(self, options: Options) -> MultiplexingTransport:
        return build_transport(options.capture, self.destinations.open_posts)

    def _on_test_error(self, error: BaseException) -> None:
        """Called in the worker's thread."""
        self._test_error = error
        self._shutdown.request("the test's answers failed")

    def run(self) -> None:
        __tracebackhide__ = _hides
        try:
            self.pool.start()
            run_stream(self._consumer, self._topic, self._pipeline, self._shutdown, _JOIN_TIMEOUT_S)
        finally:
            self.pool.stop(_STOP_TIMEOUT_S)
        failure = self._test_error or self._shutdown.failure
        if failure is not None:
            raise failure

    def commits(self) -> dict[int, int]:
        return {each.index: at for each, at in sorted(self._consumer.settled.items())}

    def _before_poll(self) -> None:
        self.pool.poll()
        settled = self.pool.outcomes.total
        now = monotonic()
        if settled != self._settled:
            self._settled, self._settled_at = settled, now
        elif now - self._settled_at > self._timeout_s:
            self._shutdown.fail(ReplayFailed(self._why_it_hangs()))
        if self._consumer.at_end and self._pipeline.idle:
            self._shutdown.request("everything is replayed")

    def _why_it_hangs(self) -> str:
        closed = [each for each in self.pool.statuses() if each.state != "open"]
        why = [f"the codec has not come back from {place}" for place in self.pool.holding()]
        why += [f"{each.name} is {each.state.replace('_', ' ')}: {each.reason}" for each in closed]
        return "; ".join([f"nothing was settled for {self._timeout_s:g} s", *why])


class _Ticket:
    kept = False


class _InMemoryStore:
    """The dead letter topic of a replay. It acknowledges at the next poll, like a broker."""

    def __init__(self) -> None:
        self.kept: list[DeadLettered] = []
        self._open: list[_Ticket] = []
        self.is_off = False

    @property
    def idle(self) -> bool:
        return not self._open

    def produce(self, partition: Partition, letter: DeadLetter) -> _Ticket:
        record = letter.record
        origin = Origin(partition.topic.name, partition.index, record.offset)
        self.kept.append(DeadLettered(letter.reason, letter.detail, origin, record))
        ticket = _Ticket()
        self._open.append(ticket)
        return ticket

    def poll(self, timeout_s: float = 0.0) -> None:
        for ticket in self._open:
            ticket.kept = True
        self._open.clear()

    def forget_all(self) -> None:
        self._open.clear()
