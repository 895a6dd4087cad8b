"""Simulate the parent with many partitions: ``python -m bench.scale``.

Real are arroyo's loop, the chunk consumer with its positions and commits, the pipeline and the
pool. Simulated are Kafka's client and the workers, which deliver everything at once; their CPU time
is not counted. ``deep`` reads 500 messages of one partition at a time, as from a backlog; ``thin``
takes as few of each partition as there are, as where messages trickle in everywhere.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any
from unittest import mock

import structlog
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing.processor import StreamProcessor
from arroyo.types import Topic
from confluent_kafka import TopicPartition

from bench import backlog, transform
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.kafka.chunk import CHUNK_MESSAGES
from consumer_fleet.kafka.clients import consumer_config
from consumer_fleet.kafka.consumer import ChunkConsumer
from consumer_fleet.kafka.dead_letters import DeadLetterProducer
from consumer_fleet.strategies.pipeline import Pipeline
from consumer_fleet.worker import protocol
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool
from consumer_fleet.worker.protocol import DELIVERED, Kind, SharedState

_TOPIC = "ingest-events"
_COUNTS = (10, 100, 1000)
_WORKERS = 2
_BUDGET_BYTES = 64 << 20
# A parent's CPU per message in `make bench`: with librdkafka and the pipes.
_WHOLE_PARENT_US = 3.4


class Uncounted:
    """CPU time of what is simulated."""

    seconds = 0.0

    @contextmanager
    def section(self) -> Iterator[None]:
        began = time.process_time()
        yield
        self.seconds += time.process_time() - began


class SimulatedMessage:
    """A message as confluent-kafka gives it."""

    __slots__ = ("_offset", "_partition", "_value")

    def __init__(self, partition: int, offset: int, value: bytes) -> None:
        self._partition = partition
        self._offset = offset
        self._value = value

    def topic(self) -> str:
        return _TOPIC

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def key(self) -> None:
        return None

    def error(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000)

    def headers(self) -> None:
        return None


class SimulatedClient:
    """The part of confluent_kafka.Consumer that the chunk consumer uses, with one member."""

    def __init__(self, plan: Plan, on_commit: Callable[..., None]) -> None:
        self._plan = plan
        self._on_commit = on_commit
        self._messages = plan.messages()
        self._on_assign: Callable[..., None] | None = None

    def subscribe(self, _topics: Sequence[str], on_assign: Callable[..., None], **_: Any) -> None:
        self._on_assign = on_assign

    def consume(self, limit: int, _timeout_s: float) -> Sequence[SimulatedMessage]:
        if self._on_assign is not None:
            on_assign, self._on_assign = self._on_assign, None
            on_assign(self, [TopicPartition(_TOPIC, each) for each in range(self._plan.partitions)])
            return []
        with self._plan.uncounted.section():
            return [message for _, message in zip(range(limit), self._messages, strict=False)]

    def poll(self, _timeout_s: float) -> SimulatedMessage | None:
        return next(self._messages, None)

    def committed(self, targets: Sequence[TopicPartition], **_: Any) -> list[TopicPartition]:
        return [TopicPartition(each.topic, each.partition, 0) for each in targets]

    def get_watermark_offsets(self, _target: TopicPartition, **_: Any) -> tuple[int, int]:
        return 0, self._plan.count

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        if asynchronous:
            self._on_commit(None, offsets)
        return offsets

    def ignore(self, *_: Any) -> None:
        """What a client does and the simulation does not."""

    assign = incremental_assign = pause = resume = close = seek = ignore

    def memberid(self) -> str:
        return "member"


class Plan:
    """A topic and its messages."""

    def __init__(self, partitions: int, count: int, *, is_deep: bool) -> None:
        self.partitions = partitions
        self.count = count
        self.is_deep = is_deep
        self.uncounted = Uncounted()
        self._values = list(backlog.messages(1000))

    def messages(self) -> Iterator[SimulatedMessage]:
        run = CHUNK_MESSAGES if self.is_deep else max(1, CHUNK_MESSAGES // self.partitions)
        offsets = [0] * self.partitions
        partition = number = 0
        while number < self.count:
            for _ in range(min(run, self.count - number)):
                value = self._values[number % len(self._values)]
                yield SimulatedMessage(partition, offsets[partition], value)
                offsets[partition] += 1
                number += 1
            partition = (partition + 1) % self.partitions


class InstantWorker:
    """The parent's side of a worker that has delivered a task as soon as it gets it."""

    pid = 1
    alive = True
    exit_code = None

    def __init__(self, plan: Plan) -> None:
        self.started_at = time.monotonic()
        self.shared = SharedState(get_context("spawn"))
        self._plan = plan
        self._frames: deque[bytes] = deque([protocol.encode_ready(self.started_at)])

    def send(self, frame: bytes) -> None:
        with self._plan.uncounted.section():
            if frame == protocol.STOP:
                return
            kind, fields = protocol.decode(frame)
            if kind is Kind.LAID:
                kind, fields = self.shared.take_laid(*fields)
            if kind is Kind.TASK:
                task = protocol.as_task(fields)
                for number in task.numbers:
                    self.shared.receipts[task.region + number] |= DELIVERED
                self.shared.announce()
                self._frames.append(protocol.encode_done(task.task_id))

    def take_frames(self) -> list[bytes]:
        frames = list(self._frames)
        self._frames.clear()
        self.shared.beat()
        return frames

    def stop(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def join(self, timeout_s: float) -> bool:
        return True


def simulate(plan: Plan) -> float:
    """Return the parent's CPU time per message, in microseconds. Commits happen once a second."""
    options = resolve_options(OptionsRequest(dict(transform.OPTIONS)), {}).options
    pool = WorkerPool(
        WorkerSpec(transform.transform, options),
        _WORKERS,
        message_timeout_s=60,
        on_failure=_fail,
        start_worker=lambda *_: InstantWorker(plan),
    )
    with (
        mock.patch(
            "consumer_fleet.kafka.consumer.make_client",
            lambda _kind, config: SimulatedClient(plan, config["on_commit"]),
        ),
        mock.patch("consumer_fleet.kafka.dead_letters.Producer"),
    ):
        consumer = ChunkConsumer(
            consumer_config({}, "group"),
            offset_policy="earliest",
            on_failure=_fail,
            on_poll=lambda: None,
            on_offsets_lost=_fail,
        )
        dead_letters = DeadLetterProducer({}, "", "group", on_failure=_fail)
        pipeline = Pipeline(pool.share(), dead_letters, max_in_flight_bytes=_BUDGET_BYTES)
        processor = StreamProcessor(consumer, Topic(_TOPIC), pipeline, ONCE_PER_SECOND)
        pool.start()
        processor._run_once()  # the assignment
        began = time.process_time()
        while pool.outcomes.delivered < plan.count:
            processor._run_once()
        spent = time.process_time() - began - plan.uncounted.seconds
        pool.stop(1)
    return spent * 1e6 / plan.count


def _fail(*details: Any) -> None:
    raise RuntimeError(f"the simulation failed: {details}")


def group_limit(partitions: int, consumers: int, limits: Mapping[int, float]) -> float:
    """Return the events per second of a group with an even load: its busiest member sets it.

    ``limits`` has a parent's events per second by its number of partitions; the next larger number
    counts.
    """
    most = -(-partitions // consumers)
    limit = limits[min(each for each in limits if each >= most)]
    return limit * partitions / most


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--messages", type=int, default=500_000)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    print("| partitions of one consumer | deep: parent µs | thin: parent µs |\n|---|---|---|")
    limits: dict[int, float] = {}
    base_us = 0.0
    for partitions in (1, *_COUNTS):
        deep, thin = (
            simulate(Plan(partitions, given.messages, is_deep=is_deep)) for is_deep in (True, False)
        )
        base_us = base_us or deep
        limits[partitions] = 1e6 / (_WHOLE_PARENT_US + deep - base_us)
        print(f"| {partitions:,} | {deep:.2f} | {thin:.2f} |", flush=True)
    print("\n| partitions | " + " | ".join(f"{each:,} consumers" for each in _COUNTS) + " |")
    print("|---" * (len(_COUNTS) + 1) + "|")
    for partitions in _COUNTS:
        cells = (f"{group_limit(partitions, each, limits):,.0f}/s" for each in _COUNTS)
        print(f"| {partitions:,} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
