"""One run: messages from a source, through the workers, to their destinations.

``consumer run``, ``consumer replay --through``, ``consumer dlq replay`` and the pytest plugin all
assemble this class. They differ in its parts:

=================  ======================  ========================  =========================
                   source                  rejected messages go to   duties
=================  ======================  ========================  =========================
run                a consumer group        the dead-letter topic     lag, health, time to loss
replay --through   a recording or a topic  a file                    none
dlq replay         dead letters            a file                    none
pytest             a recording             memory                    notice a replay that hangs
=================  ======================  ========================  =========================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Protocol, Self, TypeAlias

from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.types import Topic

from consumer_fleet.bootstrap.options import Options
from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.run.progress import Progress
from consumer_fleet.run.shutdown import Shutdown, on_its_way
from consumer_fleet.run.sources import Hooks, LocalChunkConsumer, Rest
from consumer_fleet.strategies.assembler import Assembler
from consumer_fleet.strategies.dead_letter import DeadLetterStore
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.worker.assemblies import Assemblies
from consumer_fleet.worker.assembly_files import AssemblyDirectory, AssemblyFiles
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.process import StartWorker, WorkerProcess

_REJECTS_CLOSE_TIMEOUT_S = 1.0
_LONGEST_PAUSE_S = 0.05


class Source(Protocol):
    """Where a run's messages come from."""

    @property
    def topic(self) -> str: ...

    @property
    def has_end(self) -> bool:
        """Whether the run ends by itself, once all messages are settled."""

    def wait(self, pause: Callable[[float], None], given_up: Callable[[], bool]) -> None:
        """Block until it can be opened or is given up; ``pause`` passes the time in between.

        Called in a thread of its own.
        """

    def open(self, hooks: Hooks) -> ChunkConsumer | LocalChunkConsumer:
        """Return what arroyo's loop polls. Called once, after ``wait``."""

    def rest(self, settled: int) -> Rest:
        """Return how much is left, given the number of settled messages."""

    def is_settled(self, settled: int) -> bool:
        """Whether nothing was left when the run was asked to stop."""


class RejectStore(DeadLetterStore, Protocol):
    """Where a run's rejected messages go."""

    @property
    def blocked(self) -> bool:
        """Whether it takes nothing at the moment."""

    def close(self, timeout_s: float) -> None:
        """Called once, when nothing more comes."""


@dataclass(frozen=True, slots=True)
class Steps:
    """The work on each message, the number of workers, and their bounds."""

    spec: WorkerSpec
    workers: int
    message_timeout_s: float
    max_in_flight_bytes: int
    start_worker: StartWorker = WorkerProcess
    #: How long workers may take to stop before they are killed.
    stop_timeout_s: float = 3.0

    @classmethod
    def of(cls, spec: WorkerSpec, options: Options) -> Self:
        return cls(
            spec,
            options.worker_count,
            options.message_timeout_s,
            options.max_in_flight_mb * 1024 * 1024,
        )


class Run:
    """See the module. ``open_rejects`` is called once the source is ready.

    ``duties`` are called every ``duty_interval_s`` from the loop's thread, also while the source is
    not ready yet. They must not block.
    """

    def __init__(
        self,
        source: Source,
        steps: Steps,
        open_rejects: Callable[[], RejectStore],
        shutdown: Shutdown,
        *,
        duties: Sequence[Duty] = (),
        duty_interval_s: float = 1.0,
        progress: Progress | None = None,
    ) -> None:
        self.source = source
        self.shutdown = shutdown
        self.pool = WorkerPool(
            steps.spec,
            steps.workers,
            message_timeout_s=steps.message_timeout_s,
            on_failure=shutdown.fail,
            start_worker=steps.start_worker,
        )
        shutdown.waits_for = lambda: on_its_way(self.in_flight_bytes, self.pool.statuses())
        #: Whether the source's end was reached and every message settled.
        self.is_complete = False
        self._stop_timeout_s = steps.stop_timeout_s
        self._steps = steps
        #: Messages that their destination limits or refuses alone.
        self.holding: Holding | None = None
        self._open_rejects = open_rejects
        self._duties = duties
        self._duty_interval_s = duty_interval_s
        self._duties_due = 0.0
        self._progress = progress
        self._assembly_dir: Path | None = None
        self._consumer: ChunkConsumer | LocalChunkConsumer | None = None
        self._pipeline: Pipeline | None = None
        self._rejects: RejectStore | None = None

    def run(self) -> None:
        """Block until the run has ended; ``shutdown.failure`` is the error that ended it, if any.

        1. Start the workers. They boot while the source gets ready.
        2. Wait for the source: Kafka may be unreachable.
        3. Open the store of rejected messages and the source, and chain the steps.
        4. Loop: each turn takes one chunk to the workers, passes settled messages on to the
           commit, and does the run's duties (``_turn``).
        5. When asked to stop, or at the source's end: drain, commit, close the source.
        6. Complete the store of rejected messages, after the last one was settled.
        7. Stop the workers, so that the summary has their last counts.
        8. Summarise.
        """
        with ExitStack() as stack:
            # 1.
            if self._steps.spec.assembles:
                made = AssemblyDirectory(self._steps.spec.options.assembly_dir)
                stack.callback(made.close)
                self._assembly_dir = made.path
            self.pool.assemble_in(self._assembly_dir)
            stack.callback(self.pool.stop, self._stop_timeout_s)
            self.pool.start()
            # 2.
            self._wait_for_source()
            if not self.shutdown.requested:
                self._carry()

    def _carry(self) -> None:
        # 3.
        self._rejects = self._open_rejects()
        self._pipeline = Pipeline(
            self.pool, self._rejects, max_in_flight_bytes=self._steps.max_in_flight_bytes
        )
        self._consumer = self.source.open(
            Hooks(self._turn, self.shutdown.fail, self._pipeline.abandon, self.pool.wait)
        )
        self.pool.open_offsets = self._consumer.open_offsets
        self.holding = self._pipeline.holding = Holding(
            self.pool,
            hold_at_most_s=self._steps.spec.options.hold_at_most_s,
            keeps_dead_letters=not self._rejects.is_off,
        )
        if self._assembly_dir is not None:
            self._pipeline.assembler = assembler = self._make_assembler(
                self._assembly_dir, self._rejects, self.holding
            )
            expire = partial(_expire, assembler, self._consumer)
            self._duties = (expire, *self._duties)
        with self._progress or nullcontext():
            try:
                # 4. and 5.
                processor: StreamProcessor[Chunk] = StreamProcessor(
                    self._consumer,
                    Topic(self.source.topic),
                    self._pipeline,
                    ONCE_PER_SECOND,
                    join_timeout=self.shutdown.timeout_s,
                )
                self.shutdown.on_request = processor.signal_shutdown
                if self.shutdown.requested:
                    processor.signal_shutdown()
                processor.run()
            finally:
                # 6.
                self._rejects.close(_REJECTS_CLOSE_TIMEOUT_S)
            if not self.is_complete and self.shutdown.failure is None:
                # A signal may have come while the last messages were in flight.
                self.is_complete = self.source.is_settled(self.pool.outcomes.total)
        # 7.
        self.pool.stop(self._stop_timeout_s)
        # 8.
        if self._progress is not None:
            self._progress.summarise(self.pool)

    def _make_assembler(self, directory: Path, rejects: RejectStore, holding: Holding) -> Assembler:
        options = self._steps.spec.options
        table = Assemblies(
            options.assembly_max_mb * 1024 * 1024, int(options.assembly_timeout_s * 1000)
        )
        return Assembler(
            self.pool,
            rejects,
            AssemblyFiles(directory),
            table,
            holding,
            max_sending_bytes=self._steps.max_in_flight_bytes,
        )

    def _turn(self) -> None:
        """Called by the source at each poll, with or without an assignment. Never blocks."""
        self.pool.poll()
        if self.source.has_end and not self.shutdown.requested and self._is_at_end:
            self.is_complete = True
            self.shutdown.request("the source is at its end")
        if self._do_duties() and self._progress is not None:
            self._progress.show(self.pool, *self.source.rest(self.pool.outcomes.total))

    @property
    def _is_at_end(self) -> bool:
        consumer, pipeline = self._consumer, self._pipeline
        if consumer is None or pipeline is None or not (consumer.at_end and pipeline.idle):
            return False
        return pipeline.finish()

    def _wait_for_source(self) -> None:
        """Wait in a thread: a request to brokers that do not answer blocks for seconds, in which
        workers die and signals come.
        """
        outcome: Future[None] = Future()

        def wait() -> None:
            try:
                self.source.wait(self.shutdown.wait, lambda: self.shutdown.requested)
            except Exception as error:  # raised below
                outcome.set_exception(error)
            else:
                outcome.set_result(None)

        Thread(target=wait, name="source", daemon=True).start()
        while not outcome.done() and not self.shutdown.requested:
            self.pool.poll()
            self._do_duties()
            wait_for([outcome], _LONGEST_PAUSE_S)
        if outcome.done():
            outcome.result()

    def _do_duties(self) -> bool:
        now = monotonic()
        if now < self._duties_due:
            return False
        self._duties_due = now + self._duty_interval_s
        for duty in self._duties:
            duty(self)
        return True

    # -- for duties -----------------------------------------------------------------------------

    @property
    def in_flight_bytes(self) -> int:
        return 0 if self._pipeline is None else self._pipeline.in_flight_bytes

    @property
    def are_rejects_blocked(self) -> bool:
        return self._rejects is not None and self._rejects.blocked

    @property
    def awaits_destinations(self) -> bool:
        """Whether all was read, and destinations have not taken all of it yet."""
        if self._consumer is None or not self._consumer.at_end:
            return False
        is_any_held = self.holding is not None and not self.holding.is_empty
        return is_any_held or any(status.pending for status in self.pool.statuses())

    @property
    def is_held_up(self) -> bool:
        """Whether a destination or the store of rejected messages takes nothing at the moment."""
        if self.are_rejects_blocked:
            return True
        if self.holding is not None and self.holding.is_full:
            return True
        return any(status.state != "open" for status in self.pool.statuses())


def _expire(assembler: Assembler, consumer: ChunkConsumer | LocalChunkConsumer, _run: Run) -> None:
    assembler.expire(consumer.seen_until_ms())


#: Something that a run does beside the stream.
Duty: TypeAlias = Callable[[Run], None]
