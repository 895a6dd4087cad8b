"""The compared programs, each as a process that reads one topic from its start."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from bench.upstream import Sink
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import ManagedProcess

_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Ground:
    """The broker, sink and topic that all measurements share. ``folder`` takes the logs."""

    kafka: KafkaBroker
    sink: Sink
    folder: Path
    kafka_pid: int


class Running(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def is_running(self) -> bool: ...


Run: TypeAlias = Callable[[Ground, str], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Contender:
    """A program; a slow one gets a ``share`` of the messages, to take as long as the fast ones."""

    name: str
    workers: int
    run: Run
    share: float = 1.0


def consumer_fleet(workers: int) -> Contender:
    @contextmanager
    def run(ground: Ground, topic: str) -> Iterator[ConsumerProcess]:
        with start_consumer_fleet(ground, topic, workers) as consumer:
            yield consumer
            if (code := consumer.wait()) != 0:
                raise RuntimeError(f"the consumer ended with {code}")
            _check_nothing_lost(ground, topic, consumer)

    return Contender("consumer-fleet", workers, run)


def start_consumer_fleet(ground: Ground, topic: str, workers: int) -> ConsumerProcess:
    """Start ``consumer run`` as users do, and kill it at the end of the block."""
    return ConsumerProcess(
        ground.folder,
        *("--topic", "ingest-events", "--physical-topic", topic, "--stop-at-end"),
        *("--bootstrap-servers", ground.kafka.bootstrap_servers, "--group", _new_group()),
        *("--upstream-dsn", ground.sink.dsn, "--workers", str(workers)),
    )


def _check_nothing_lost(ground: Ground, topic: str, consumer: ConsumerProcess) -> None:
    written = sum(ground.kafka.end_offsets(topic).values())
    accepted = ground.sink.stats().accepted
    if not written == accepted == consumer.delivered():
        raise RuntimeError(
            f"of {written} messages, the upstream accepted {accepted} and the consumer says that "
            f"it delivered {consumer.delivered()}"
        )


def stock(processes: int, batch: int) -> Contender:
    @contextmanager
    def run(ground: Ground, topic: str) -> Iterator[ManagedProcess]:
        command = [sys.executable, "-m", "bench.stock", "--topic", topic, "--group", _new_group()]
        command += ["--bootstrap-servers", ground.kafka.bootstrap_servers]
        command += ["--url", ground.sink.url, "--dsn", ground.sink.dsn]
        command += ["--processes", str(processes), "--batch", str(batch)]
        log = ground.folder / "stock.log"
        process = ManagedProcess("stock", command, log=log, env=os.environ, cwd=_ROOT)
        try:
            yield process
        except BaseException as error:
            error.add_note(f"its log:\n{process.log_tail()}")
            raise
        finally:
            process.kill()

    return Contender("arroyo's step, urllib3", processes, run, share=0.1)


def _new_group() -> str:
    return f"bench-{uuid.uuid4().hex}"
