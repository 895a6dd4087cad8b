"""Compare the worker step with arroyo's multiprocessing step, without Kafka and requests.

Both unpack each message and build its envelope in one process, with the same function, and deliver
nothing. Fed as fast as they take messages: ``python -m bench.transform``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import MappingProxyType

from arroyo.backends.kafka import KafkaPayload
from arroyo.processing.strategies import RunTaskWithMultiprocessing
from arroyo.processing.strategies.abstract import MessageRejected, ProcessingStrategy
from arroyo.processing.strategies.run_task_with_multiprocessing import MultiprocessingPool
from arroyo.types import BrokerValue, Message, Partition, Topic, Value

from bench import backlog
from consumer_fleet.bootstrap.resolve import OptionsRequest, resolve_options
from consumer_fleet.codec import RawMessage, Skipped
from consumer_fleet.consumers import registry
from consumer_fleet.errors import FleetError
from consumer_fleet.kafka.chunk import Chunk, Record
from consumer_fleet.strategies.run_in_workers import RunInWorkers
from consumer_fleet.worker.multiprocess_worker import WorkerSpec
from consumer_fleet.worker.pool import WorkerPool

_PARTITION = Partition(Topic("ingest-events"), 0)
_CHUNK = 500
_DIFFERENT = 5000
_BLOCK_BYTES = 16 * 1024 * 1024
OPTIONS = MappingProxyType({"bootstrap_servers": "127.0.0.1:9", "upstream_dsn": "http://k@[::1]/1"})
_TRANSFORMED = Skipped("transformed")
_decode = registry.get("ingest-events").decode


def transform(message: RawMessage) -> Skipped:
    """The worker's codec."""
    _decode(message)
    return _TRANSFORMED


def transform_stock(message: Message[KafkaPayload]) -> int:
    """The function of arroyo's step."""
    assert isinstance(message.value, BrokerValue)
    value = message.payload.value
    _decode(RawMessage("ingest-events", 0, message.value.offset, None, value))
    return 1


class _Last(ProcessingStrategy[object]):
    """Counts the messages that come out."""

    def __init__(self) -> None:
        self.next_offset = 0

    def submit(self, message: Message[object]) -> None:
        self.next_offset = max(message.committable.values())

    def poll(self) -> None:
        pass

    def close(self) -> None:
        pass

    def terminate(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        pass


def ours(count: int) -> float:
    """Return the messages per second of the worker step with one worker.

    Raises FleetError if the worker can't boot.
    """
    options = resolve_options(OptionsRequest(dict(OPTIONS)), {}).options
    failures: list[FleetError] = []
    spec = WorkerSpec(transform, options)
    pool = WorkerPool(spec, 1, message_timeout_s=60, on_failure=failures.append)
    pool.start()
    try:
        while not pool.ready_workers:
            pool.wait(0.1)
            pool.poll()
            if failures:
                raise failures[0]
        last = _Last()
        step = RunInWorkers(pool.share(), last, max_in_flight_bytes=64 << 20)
        chunks = _chunks(count)
        began = time.perf_counter()
        waiting = next(chunks, None)
        while last.next_offset < count:
            try:
                while waiting is not None:
                    step.submit(waiting)
                    waiting = next(chunks, None)
            except MessageRejected:
                pass
            pool.wait(0.05)
            step.poll()
            if failures:
                raise failures[0]
        return count / (time.perf_counter() - began)
    finally:
        pool.stop(10)


def _chunks(count: int) -> Iterator[Message[Chunk]]:
    values = list(backlog.messages(_DIFFERENT))
    for start in range(0, count, _CHUNK):
        records = tuple(
            Record(offset, 1, None, values[offset % _DIFFERENT], ())
            for offset in range(start, min(start + _CHUNK, count))
        )
        size = sum(record.size for record in records)
        yield Message(Value(Chunk(_PARTITION, records, size), {}))


def stock(count: int) -> float:
    """Return the messages per second of arroyo's step with one process."""
    pool = MultiprocessingPool(1)
    last = _Last()
    step = RunTaskWithMultiprocessing(
        transform_stock,
        last,
        max_batch_size=_CHUNK,
        max_batch_time=1.0,
        pool=pool,
        input_block_size=_BLOCK_BYTES,
        output_block_size=_BLOCK_BYTES,
        prefetch_batches=True,
    )
    payloads = [KafkaPayload(None, value, []) for value in backlog.messages(_DIFFERENT)]
    timestamp = datetime.now(UTC)

    def submit(offsets: range) -> None:
        for offset in offsets:
            value = BrokerValue(payloads[offset % _DIFFERENT], _PARTITION, offset, timestamp)
            while True:
                try:
                    step.submit(Message(value))
                    break
                except MessageRejected:
                    step.poll()
            step.poll()

    submit(range(_CHUNK))
    while last.next_offset < _CHUNK:  # the process has started
        step.poll()
    began = time.perf_counter()
    submit(range(_CHUNK, _CHUNK + count))
    step.close()
    step.join()
    elapsed = time.perf_counter() - began
    pool.close()
    return count / elapsed


def measure(messages: int, runs: int) -> list[tuple[float, float]]:
    """Return our and arroyo's messages per second by round."""
    return [(ours(messages), stock(messages // 5)) for _ in range(runs)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.transform", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    try:
        rounds = measure(given.messages, given.runs)
    except FleetError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    for mine, theirs in rounds:
        print(f"{mine:,.0f}/s, arroyo {theirs:,.0f}/s: {mine / theirs:.1f}")
    print(f"median ratio {statistics.median(mine / theirs for mine, theirs in rounds):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
