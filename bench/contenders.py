"""The compared programs, each as a process that reads one topic from its start."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from bench import proc
from bench.upstream import Sink, build
from tests.support.consumer_process import CONSUMER, ConsumerProcess
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


@contextmanager
def prepared(folder: Path) -> Iterator[Ground]:
    """Start a broker and a sink for the length of the block."""
    with Sink(folder) as sink, closing(KafkaBroker(for_load=True)) as kafka:
        kafka.start()
        (kafka_pid,) = (
            pid for pid in proc.descendants(os.getpid()) if "kafka.Kafka " in proc.command_line(pid)
        )
        yield Ground(kafka, sink, folder, kafka_pid)


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


OURS = "consumer-fleet"
GO = "Go: franz-go, net/http"
STOCK = "arroyo's step, urllib3"
AIOHTTP = "aiokafka, aiohttp, uvloop"
FASTSTREAM = "FastStream, aiohttp, uvloop"


def consumer_fleet(
    workers: int,
    *arguments: str,
    copies: int = 1,
    messages: str = "ingest-events",
    parts: int = 1,
) -> Contender:
    """``copies`` is how many destinations get each message, ``messages`` is their consumer;
    ``parts`` of them are one envelope.
    """

    @contextmanager
    def run(ground: Ground, topic: str) -> Iterator[ConsumerProcess]:
        given = ("--topic", messages, "--stop-at-end", *arguments)
        with start_consumer_fleet(ground, topic, workers, *given) as consumer:
            yield consumer
            if (code := consumer.wait()) != 0:
                raise RuntimeError(f"the consumer ended with {code}")
            _check_nothing_lost(ground, topic, consumer, copies / parts)

    return Contender(OURS, workers, run)


def start_consumer_fleet(
    ground: Ground, topic: str, workers: int, *arguments: str, program: str = CONSUMER
) -> ConsumerProcess:
    """Start ``consumer run`` as users do, and kill it at the end of the block."""
    if "--topic" not in arguments:
        arguments = ("--topic", "ingest-events", *arguments)
    if ground.sink.ca_file is not None:
        arguments = (*arguments, "--set", f"ca_file={ground.sink.ca_file}")
    return ConsumerProcess(
        ground.folder,
        *("--physical-topic", topic),
        *("--bootstrap-servers", ground.kafka.bootstrap_servers, "--group", _new_group()),
        *("--upstream-dsn", ground.sink.dsn, "--workers", str(workers), *arguments),
        program=program,
    )


def start_several(ground: Ground, topics: Mapping[str, str], workers: int) -> ConsumerProcess:
    """Start one ``consumer run`` of several consumers, or of one, each by its topic."""
    if len(topics) == 1:
        names = ("--physical-topic", *topics.values())
    else:
        names = ("--set", f"snuba_topic_map={','.join(f'{n}={t}' for n, t in topics.items())}")
    return ConsumerProcess(
        ground.folder,
        *(part for name in topics for part in ("--topic", name)),
        *names,
        *("--bootstrap-servers", ground.kafka.bootstrap_servers, "--yes"),
        *("--upstream-dsn", ground.sink.dsn, "--workers", str(workers)),
    )


def _check_nothing_lost(
    ground: Ground, topic: str, consumer: ConsumerProcess, copies: float
) -> None:
    written = sum(ground.kafka.end_offsets(topic).values())
    accepted = ground.sink.stats().accepted
    if not written * copies == accepted == consumer.delivered() * copies:
        raise RuntimeError(
            f"of {written} messages, the upstream accepted {accepted} and the consumer says that "
            f"it delivered {consumer.delivered()}"
        )


def go_forwarder(*, gzip: bool = False) -> Contender:
    """bench/forwarder: the job as an experienced Go programmer would write it."""

    @contextmanager
    def run(ground: Ground, topic: str) -> Iterator[ManagedProcess]:
        program = ground.folder / "forwarder"
        if not program.exists():
            build("forwarder", ground.folder)
        command = [str(program), *_source_and_target(ground, topic), f"-gzip={str(gzip).lower()}"]
        if ground.sink.ca_file is not None:
            command += ["--ca-file", ground.sink.ca_file]
        with _running("forwarder", command, ground) as process:
            yield process

    return Contender(GO, 1, run)


def stock(processes: int, batch: int) -> Contender:
    @contextmanager
    def run(ground: Ground, topic: str) -> Iterator[ManagedProcess]:
        command = [sys.executable, "-m", "bench.stock", *_source_and_target(ground, topic)]
        command += ["--processes", str(processes), "--batch", str(batch)]
        with _running("stock", command, ground) as process:
            yield process

    return Contender(STOCK, processes, run, share=0.1)


def peer(name: str, module: str) -> Contender:
    """A program in bench/ that does the same job by other means."""

    @contextmanager
    def run(ground: Ground, topic: str) -> Iterator[ManagedProcess]:
        with start_peer(ground, topic, module) as process:
            yield process

    return Contender(name, 1, run, share=0.1)


@contextmanager
def start_peer(ground: Ground, topic: str, module: str) -> Iterator[ManagedProcess]:
    """Start bench/MODULE.py for the length of the block."""
    command = [sys.executable, "-m", f"bench.{module}", *_source_and_target(ground, topic)]
    with _running(module, command, ground) as process:
        yield process


def _source_and_target(ground: Ground, topic: str) -> list[str]:
    source = ["--topic", topic, "--group", _new_group()]
    source += ["--bootstrap-servers", ground.kafka.bootstrap_servers]
    return [*source, "--url", ground.sink.url, "--dsn", ground.sink.dsn]


@contextmanager
def _running(name: str, command: list[str], ground: Ground) -> Iterator[ManagedProcess]:
    log = ground.folder / f"{name}.log"
    process = ManagedProcess(name, command, log=log, env=os.environ, cwd=_ROOT)
    try:
        yield process
    except BaseException as error:
        error.add_note(f"its log:\n{process.log_tail()}")
        raise
    finally:
        process.kill()


def _new_group() -> str:
    return f"bench-{uuid.uuid4().hex}"
