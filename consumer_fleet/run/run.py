"""One run: messages from a source or several, through the workers, to their destinations.

``consumer run``, ``consumer replay --through``, ``consumer dlq replay`` and the pytest plugin all
assemble this class. They differ in its parts:

=================  ======================  ========================  =========================
                   source                  rejected messages go to   duties
=================  ======================  ========================  =========================
run                consumer groups         dead-letter topics        lag, health, time to loss
replay --through   a recording or a topic  a file                    none
dlq replay         dead letters            a file                    none
pytest             a recording             memory                    notice a replay that hangs
=================  ======================  ========================  =========================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import ExitStack, nullcontext
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TypeAlias

from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.types import Partition, Topic

from consumer_fleet.kafka.chunk import Chunk, name_of
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.run.parts import RejectStore, Source, Steps
from consumer_fleet.run.progress import Progress, TopicCounts
from consumer_fleet.run.shutdown import Shutdown, on_its_way
from consumer_fleet.run.sources import Hooks, LocalChunkConsumer
from consumer_fleet.run.turns import TopicLoop, Turns
from consumer_fleet.strategies.assembler import Assembler
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.worker.assemblies import Assemblies
from consumer_fleet.worker.assembly_files import AssemblyDirectory, AssemblyFiles
from consumer_fleet.worker.holding import Holding
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.work import PoolShare

_REJECTS_CLOSE_TIMEOUT_S = 1.0
_LONGEST_PAUSE_S = 0.05


class Lane:
    """One topic of a run. Lanes share the workers and the budget of messages in flight.

    ``open_rejects`` is called once the source is ready. With ``assembles``, envelopes may be spread
    over messages. ``name`` is the consumer's, where there are several.
    """

    def __init__(
        self,
        source: Source,
        open_rejects: Callable[[], RejectStore],
        *,
        assembles: bool = False,
        name: str = "",
    ) -> None:
        self.source = source
        self.assembles = assembles
        self.name = name
        #: Messages that their destination limits or refuses alone.
        self.holding: Holding | None = None
        #: Set by the run.
        self.share: PoolShare
        self._open_rejects = open_rejects
        self.rejects: RejectStore | None = None
        self.consumer: ChunkConsumer | LocalChunkConsumer | None = None
        # Messages for one destination pass those that wait for another.
        self._passes_outages = False
        self.pipeline: Pipeline | None = None

    def open(self, steps: Steps, assembly_dir: Path | None, make_hooks: MakeHooks) -> None:
        """Open the source, and chain the steps."""
        self.rejects = rejects = self._open_rejects()
        self.pipeline = pipeline = Pipeline(
            self.share, rejects, max_in_flight_bytes=steps.max_in_flight_bytes
        )
        self.consumer = self.source.open(make_hooks(self, pipeline))
        self.share.open_offsets = self.consumer.open_offsets
        options = steps.spec.options
        self._passes_outages = bool(options.projects) and options.hold_at_most_s > 0
        self.holding = pipeline.holding = Holding(
            self.share,
            hold_at_most_s=options.hold_at_most_s,
            keeps_dead_letters=not rejects.is_off,
        )
        if self.assembles and assembly_dir is not None:
            pipeline.assembler = Assembler(
                self.share,
                rejects,
                AssemblyFiles(assembly_dir),
                Assemblies(
                    options.assembly_max_mb * 1024 * 1024, int(options.assembly_timeout_s * 1000)
                ),
                self.holding,
                max_sending_bytes=steps.max_in_flight_bytes,
            )

    def loop(self, join_timeout_s: float) -> TopicLoop:
        """Chain the source to the steps by arroyo's loop."""
        assert self.consumer is not None
        assert self.pipeline is not None
        processor: StreamProcessor[Chunk] = StreamProcessor(
            self.consumer,
            Topic(self.source.topic),
            self.pipeline,
            ONCE_PER_SECOND,
            join_timeout=join_timeout_s,
        )
        return TopicLoop(self.name, processor, self.pipeline)

    def is_at_end(self) -> bool:
        """Whether everything up to the source's end is settled."""
        consumer, pipeline = self.consumer, self.pipeline
        if consumer is None or pipeline is None or not (consumer.at_end and pipeline.idle):
            return False
        return pipeline.finish()

    def close_rejects(self) -> None:
        """Complete the store of rejected messages. Blocks for a while; any thread."""
        if self.rejects is not None:
            self.rejects.close(_REJECTS_CLOSE_TIMEOUT_S)

    def expire(self) -> None:
        """Let attachments end whose time is up."""
        if self.consumer is not None and self.pipeline is not None and self.pipeline.assembler:
            self.pipeline.assembler.expire(self.consumer.seen_until_ms())

    @property
    def in_flight_bytes(self) -> int:
        return 0 if self.pipeline is None else self.pipeline.in_flight_bytes

    @property
    def are_rejects_blocked(self) -> bool:
        return self.rejects is not None and self.rejects.blocked

    def held_up(self, partitions: Iterable[Partition]) -> set[Partition]:
        """Those of the partitions that wait for a destination, or for the store of rejected
        messages, which takes nothing at the moment.

        Where projects have destinations of their own, one of those holds up what has its oldest
        message for it, and partitions that are full of such messages.
        """
        found, holding = set(partitions), self.holding
        if self.are_rejects_blocked or (holding is not None and holding.is_full):
            return found
        statuses = self.share.statuses()
        closed = [status for status in statuses if status.state != "open" and status.required]
        if closed and not (self._passes_outages and self.share.has_room):
            return found
        waiting = found & self.share.open_offsets.full
        if closed and self.pipeline is not None:
            for partition in found - waiting:
                name, oldest = name_of(partition), self.pipeline.oldest_unsettled(partition)
                if any(oldest in status.keeps_back.get(name, ()) for status in closed):
                    waiting.add(partition)
        return waiting


class Run:
    """See the module. There is a lane for each topic.

    ``duties`` are called every ``duty_interval_s`` from the loop's thread, also while the sources
    are not ready yet. They must not block.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        steps: Steps,
        shutdown: Shutdown,
        *,
        duties: Sequence[Duty] = (),
        duty_interval_s: float = 1.0,
        progress: Progress | None = None,
    ) -> None:
        self.lanes = lanes
        self.shutdown = shutdown
        self.pool = WorkerPool(
            steps.spec,
            steps.workers,
            message_timeout_s=steps.message_timeout_s,
            on_failure=shutdown.fail,
            start_worker=steps.start_worker,
        )
        shutdown.waits_for = lambda: on_its_way(self.in_flight_bytes, self.pool.statuses())
        for lane in lanes:
            lane.share = self.pool.share(lane.name)
        #: Whether the sources' ends were reached and every message settled.
        self.is_complete = False
        self._steps = steps
        self._duties = duties
        self._duty_interval_s = duty_interval_s
        self._duties_due = 0.0
        self._progress = progress

    def run(self) -> None:
        """Block until the run has ended; ``shutdown.failure`` is the error that ended it, if any.

        1. Start the workers. They boot while the sources get ready.
        2. Wait for the sources: Kafka may be unreachable.
        3. Open the stores of rejected messages and the sources, and chain the steps.
        4. Loop: each turn takes one chunk to the workers, passes settled messages on to the
           commit, and does the run's duties (``_turn``).
        5. When asked to stop, or at the sources' end: drain, commit, close the sources.
        6. Complete the stores of rejected messages, after the last one was settled.
        7. Stop the workers, so that the summary has their last counts.
        8. Summarise.
        """
        with ExitStack() as stack:
            # 1.
            assembly_dir: Path | None = None
            if any(lane.assembles for lane in self.lanes):
                made = AssemblyDirectory(self._steps.spec.options.assembly_dir)
                stack.callback(made.close)
                assembly_dir = made.path
            self.pool.assemble_in(assembly_dir)
            stack.callback(self.pool.stop, self._steps.stop_timeout_s)
            self.pool.start()
            # 2.
            self._wait_for_sources()
            if not self.shutdown.requested:
                self._carry(assembly_dir)

    def _carry(self, assembly_dir: Path | None) -> None:
        with self._progress or nullcontext():
            try:
                # 3.
                for lane in self.lanes:
                    lane.open(self._steps, assembly_dir, self._hooks)
                # 4. and 5.
                self._loop()
            finally:
                # 6.
                with ThreadPoolExecutor(len(self.lanes)) as threads:
                    list(threads.map(Lane.close_rejects, self.lanes))
            if not self.is_complete and self.shutdown.failure is None:
                # A signal may have come while the last messages were in flight.
                self.is_complete = all(
                    lane.source.is_settled(lane.share.outcomes.total) for lane in self.lanes
                )
        # 7.
        self.pool.stop(self._steps.stop_timeout_s)
        # 8.
        if self._progress is not None:
            self._progress.summarise(self.pool, self._topics())

    def _hooks(self, lane: Lane, pipeline: Pipeline) -> Hooks:
        if len(self.lanes) == 1:
            return Hooks(self._turn, self.shutdown.fail, pipeline.abandon, lane.share.wait)
        return Hooks(
            lambda: None, self.shutdown.fail, pipeline.abandon, self.pool.wait, may_wait=False
        )

    def _loop(self) -> None:
        loops = [lane.loop(self.shutdown.timeout_s) for lane in self.lanes]
        if len(loops) == 1:
            processor = loops[0].processor
            self.shutdown.on_request = processor.signal_shutdown
            if self.shutdown.requested:
                processor.signal_shutdown()
            processor.run()
            return
        turns = Turns(loops, self.pool, self.shutdown, self._turn)
        for lane, loop in zip(self.lanes, loops, strict=True):
            lane.share.wait = turns.wait
            loop.pipeline.kept_free = lambda: self.in_flight_bytes
        turns.run()

    @property
    def in_flight_bytes(self) -> int:
        return sum(lane.in_flight_bytes for lane in self.lanes)

    def _turn(self) -> None:
        """Called by the source at each poll, with or without an assignment. Never blocks."""
        self.pool.poll()
        has_end = all(lane.source.has_end for lane in self.lanes)
        if has_end and not self.shutdown.requested:
            # Each is asked: one that is at its end finishes what waits for more.
            at_end = [lane.is_at_end() for lane in self.lanes]
            if all(at_end):
                self.is_complete = True
                self.shutdown.request("the source is at its end")
        if self._do_duties() and self._progress is not None:
            if topics := self._topics():
                lag = sum(topic.lag or 0 for topic in topics)
                self._progress.show(self.pool, lag, topics=topics)
            else:
                (lane,) = self.lanes
                self._progress.show(self.pool, *lane.source.rest(lane.share.outcomes.total))

    def _topics(self) -> list[TopicCounts]:
        """The topics, if there are several."""
        if len(self.lanes) == 1:
            return []
        return [
            TopicCounts(lane.name, outcomes, lane.source.rest(outcomes.total).left)
            for lane in self.lanes
            for outcomes in (lane.share.outcomes,)
        ]

    def _wait_for_sources(self) -> None:
        """Wait in a thread: a request to brokers that do not answer blocks for seconds, in which
        workers die and signals come.
        """
        outcome: Future[None] = Future()

        def wait() -> None:
            try:
                for lane in self.lanes:
                    lane.source.wait(self.shutdown.wait, lambda: self.shutdown.requested)
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
        for lane in self.lanes:
            lane.expire()
        for duty in self._duties:
            duty(self)
        return True

    # -- for duties -----------------------------------------------------------------------------

    @property
    def awaits_destinations(self) -> bool:
        """Whether all was read, and destinations have not taken all of it yet."""
        if not all(lane.consumer is not None and lane.consumer.at_end for lane in self.lanes):
            return False
        is_any_held = any(
            lane.holding is not None and not lane.holding.is_empty for lane in self.lanes
        )
        return is_any_held or any(status.pending for status in self.pool.statuses())


#: Something that a run does beside the stream.
Duty: TypeAlias = Callable[[Run], None]
MakeHooks: TypeAlias = Callable[[Lane, Pipeline], Hooks]
