"""Count lost and repeated messages while requests fail and workers are killed."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from bench import backlog
from bench.contenders import Ground, start_consumer_fleet
from bench.upstream import Sink
from tests.support.consumer_process import CONSUMER, ConsumerProcess

_WORKERS = 2
_CONNECTIONS = 16
_PATIENCE_S = 300


@dataclass(frozen=True, slots=True)
class Faults:
    """``ambiguous`` counts events that were accepted although the worker saw a failure."""

    messages: int
    kills: int
    lost: int
    dead_letters: int
    duplicates: int
    ambiguous: int

    @property
    def bound(self) -> int:
        """How many messages may be repeated: one per request on the wire of a killed worker, and
        one per ambiguous answer.
        """
        return self.kills * _CONNECTIONS + self.ambiguous

    @property
    def is_met(self) -> bool:
        return self.lost == 0 and self.duplicates <= self.bound


@dataclass(frozen=True, slots=True)
class Plan:
    """A run to the end of a topic: its seed decides which requests fail, and the moments of kills.

    ``kinds`` are names from bench/sink/faults.go, equally likely; none means all: 503, 503 with the
    connection closed, a reset, and after the acceptance a close, a reset or a cut answer.
    """

    messages: int
    kills: int
    share: float
    seed: int
    kinds: tuple[str, ...] = ()


def measure(ground: Ground, plan: Plan, program: str = CONSUMER) -> Faults:
    """Run a plan. ``program`` is the ``consumer`` of another version."""
    messages = plan.messages
    topic = backlog.fill(ground.kafka, f"faults-{time.time_ns()}", messages)
    flags = ["-ids", "-faults", str(plan.share), "-seed", str(plan.seed)]
    flags += ["-kinds", ",".join(plan.kinds)]
    with (
        Sink(ground.folder, *flags) as sink,
        start_consumer_fleet(
            replace(ground, sink=sink),
            topic,
            _WORKERS,
            *("--stop-at-end", "--set", f"connections={_CONNECTIONS}"),
            program=program,
        ) as consumer,
    ):
        _kill_workers(consumer, sink, plan)
        if (code := consumer.wait(_PATIENCE_S)) != 0:
            raise RuntimeError(f"the consumer ended with {code}")
        stats = sink.stats()
        (summary,) = consumer.events("summary")
        deaths = len(consumer.events("worker_died"))
    dead_letters = sum(summary["dead_lettered"].values())
    return Faults(
        messages=messages,
        kills=deaths,
        lost=messages - stats.distinct - dead_letters,
        dead_letters=dead_letters,
        duplicates=stats.accepted - stats.distinct,
        ambiguous=stats.ambiguous,
    )


def _kill_workers(consumer: ConsumerProcess, sink: Sink, plan: Plan) -> None:
    chance, messages = random.Random(plan.seed), plan.messages
    # The last tenth is left alone: a worker must still be there for the last kill.
    moments = sorted(
        chance.randrange(messages // 50, messages * 9 // 10) for _ in range(plan.kills)
    )
    for number, moment in enumerate(moments):
        consumer.wait_for("worker_ready", _WORKERS + number)
        consumer.wait_until(
            lambda moment=moment: sink.stats().distinct >= moment,  # type: ignore[misc]
            f"{moment} messages",
            _PATIENCE_S,
        )
        # The run may have ended meanwhile: only deaths in the log count.
        with suppress(ProcessLookupError):
            os.kill(chance.choice(sorted(consumer.worker_pids())), signal.SIGKILL)
