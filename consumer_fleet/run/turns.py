"""The loops of several topics in one thread, a turn each.

A single topic has arroyo's own loop. Here each loop gets one turn per round, and none of them
waits: not for messages, not for room, and while one drains in a rebalance, the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic

from arroyo.processing.processor import StreamProcessor

from consumer_fleet.kafka.chunk import Chunk
from consumer_fleet.metrics import thread_tags
from consumer_fleet.run.shutdown import Shutdown
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.worker.pool import WorkerPool

# After a round in which no topic had anything new: with and without messages in flight.
_BUSY_PAUSE_S = 0.01
_IDLE_PAUSE_S = 0.04
# Arroyo's loop sleeps when its chunk has no room: such a topic gets a turn of it this often.
_BLOCKED_INTERVAL_S = 0.25


class TopicLoop:
    """Arroyo's loop over the steps of one topic, turn by turn."""

    def __init__(self, name: str, processor: StreamProcessor[Chunk], pipeline: Pipeline) -> None:
        self._name = name
        self.processor = processor
        self.pipeline = pipeline
        self._due = 0.0
        #: It is further up on this thread's stack: in a rebalance, or at its end.
        self.is_busy = False

    def turn(self) -> None:
        """Take one chunk, and pass settled messages on. Blocks in a rebalance only."""
        self.is_busy = True
        with thread_tags(topic=self._name):
            if self.pipeline.is_blocked and monotonic() < self._due:
                self.pipeline.poll()
            else:
                self._due = monotonic() + _BLOCKED_INTERVAL_S
                self.processor._run_once()
        self.is_busy = False

    def poll(self) -> None:
        """Pass settled messages on."""
        with thread_tags(topic=self._name):
            self.pipeline.poll()

    def begin_end(self, deadline: float) -> None:
        """Take nothing more, and have the workers drain."""
        self.pipeline.begin_end(deadline)

    def drain(self) -> None:
        """Drain until the deadline. Blocks."""
        self.is_busy = True
        with thread_tags(topic=self._name):
            self.processor._close_processing_strategy()

    def close(self) -> None:
        """Commit, and leave the group. Blocks; any thread, after ``drain``."""
        with thread_tags(topic=self._name):
            self.processor._shutdown()

    def terminate(self) -> None:
        """End at once: commit nothing more than what was passed on."""
        self.pipeline.terminate()
        self.drain()
        self.close()


class Turns:
    """See the module. ``do_round`` is called after each round; it must not block."""

    def __init__(
        self,
        loops: Sequence[TopicLoop],
        pool: WorkerPool,
        shutdown: Shutdown,
        do_round: Callable[[], None],
    ) -> None:
        self._loops = loops
        self._pool = pool
        self._shutdown = shutdown
        self._do_round = do_round

    def run(self) -> None:
        """Block until a request to end, and until all topics have ended."""
        try:
            while not self._shutdown.requested:
                given = self._pool.given
                for loop in self._loops:
                    loop.turn()
                self._do_round()
                if self._pool.given == given:
                    self._shutdown.wait(_BUSY_PAUSE_S if self._pool.is_busy else _IDLE_PAUSE_S)
            self._end()
        except Exception:
            with ExitStack() as stack:
                for loop in self._loops:
                    stack.callback(loop.terminate)
            raise

    def _end(self) -> None:
        """All drain at the same time, and share one deadline; then all are closed at the same time,
        since each may wait for a broker.
        """
        deadline = monotonic() + self._shutdown.timeout_s
        for loop in self._loops:
            loop.begin_end(deadline)
        for loop in self._loops:
            loop.drain()
        with ThreadPoolExecutor(len(self._loops)) as threads:
            list(threads.map(TopicLoop.close, self._loops))

    def wait(self, timeout_s: float) -> None:
        """Pass the time in which one of them drains: the others go on, or drain as well."""
        is_ending = self._shutdown.requested
        for loop in self._loops:
            if not loop.is_busy:
                loop.poll() if is_ending else loop.turn()
        self._do_round()
        self._pool.wait(min(timeout_s, _BUSY_PAUSE_S))
