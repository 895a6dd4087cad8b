"""What a row plays on: a topic on real Kafka, consumers as processes, receivers, and the oracle."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tests.chaos.oracle import Commit, Ledger, Oracle, event_id
from tests.chaos.receiver import Receiver
from tests.support.consumer_process import ConsumerProcess
from tests.support.kafka_topics import Header, KafkaTopics, Setting
from tests.support.processes import wait_until

# Requests on the wire of one worker and destination.
CONNECTIONS = 16
_QUEUE_LIMIT = 50_000
_FLUSH_TIMEOUT_S = 60
_TERM_TIMEOUT_S = 40

_T = TypeVar("_T")
MakeValue: TypeAlias = Callable[[bytes, int, int], bytes | None]


def envelope(name: bytes, _partition: int, offset: int) -> bytes:
    """Build a raw envelope with one event of about 300 bytes."""
    event = b'{"event_id":"%b","message":"%b"}' % (name, b"m" * (150 + offset % 100))
    header = b'{"event_id":"%b"}\n{"type":"event","length":%d}\n' % (name, len(event))
    return header + event + b"\n"


class _OwnKafka(Protocol):
    def start(self) -> None: ...

    def close(self) -> None: ...


_Kafka = TypeVar("_Kafka", bound=_OwnKafka)


@contextmanager
def started(kafka: _Kafka) -> Iterator[_Kafka]:
    """Run a broker, or a cluster, for the block: ``stage.kafka = stage.enter(started(…))``."""
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.close()


class Stage:
    """One row's world. All that it starts ends with the ``with`` block.

    ``bound`` is how many duplicates the row allows, and ``faults`` what it has injected.
    """

    def __init__(self, kafka: KafkaTopics, folder: Path, *, seed: int, scale: float) -> None:
        self.kafka = kafka
        self.folder = folder
        self.seed = seed
        self.scale = scale
        self.chance = random.Random(seed)
        self.group = f"chaos-{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.group}-topic"
        self.faults: Counter[str] = Counter()
        self.bound = 0
        self.dead_letters_expected = range(1)
        self.consumer = "envelopes"
        self.environment: dict[str, str] = {}
        self.producer_settings: dict[str, Setting] = {}
        # Of the message at a partition's offset.
        self.headers: Callable[[int, int], list[Header] | None] = lambda _partition, _offset: None
        self.arguments: list[str] = ["--set", f"connections={CONNECTIONS}"]
        self.members: list[ConsumerProcess] = []
        self._ended: list[ConsumerProcess] = []
        self._producer: Producer | None = None
        self._resources = ExitStack()
        self.upstream = self._resources.enter_context(Receiver("upstream"))
        self.receivers = [self.upstream]
        self.oracle: Oracle | None = None

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            member.__exit__(None, None, None)
        if self.oracle is not None:
            self.oracle.stop()
        self._resources.close()

    @property
    def judge(self) -> Oracle:
        assert self.oracle is not None, "fill the topic first"
        return self.oracle

    @property
    def ledger(self) -> Ledger:
        return self.judge.ledger

    @property
    def logs(self) -> list[ConsumerProcess]:
        """All consumers that have run, for their log events."""
        return [*self._ended, *self.members]

    def scaled(self, count: int, least: int = 1) -> int:
        return max(least, round(count * self.scale))

    def enter(self, resource: AbstractContextManager[_T]) -> _T:
        """Open a resource that lives as long as the stage."""
        return self._resources.enter_context(resource)

    def add_receiver(self, name: str) -> Receiver:
        receiver = self.enter(Receiver(name))
        self.receivers.append(receiver)
        return receiver

    def fill(
        self,
        partitions: int,
        count: int,
        *,
        required: Sequence[Receiver] | None = None,
        config: dict[str, object] | None = None,
        value: MakeValue = envelope,
    ) -> None:
        """Create the topic with ``count`` messages, and start to watch the group's commits."""
        self.kafka.create_topic(self.topic, partitions, config)
        ledger = Ledger(self.topic, [self.upstream] if required is None else required)
        self.oracle = Oracle(self.kafka, self.group, ledger, f"{self.topic}-dlq")
        for index in range(partitions):
            ledger.ends[index] = 0
        self.produce(count, value=value)
        self.oracle.start()

    def produce(self, count: int, *, value: MakeValue = envelope) -> None:
        """Add ``count`` messages, spread evenly over the partitions."""
        if self._producer is None:
            config = self.kafka.client_config(linger_ms=20, enable_idempotence=True)
            self._producer = Producer(config | self.producer_settings)
        producer = self._producer
        ledger = self.ledger
        misplaced: list[str] = []

        def report(offset: int) -> Callable[[KafkaError | None, Message], None]:
            def on_delivery(error: KafkaError | None, message: Message) -> None:
                if error is not None or message.offset() != offset:
                    misplaced.append(f"{message.partition()}@{offset}: {error or message.offset()}")

            return on_delivery

        for number in range(count):
            partition = number % len(ledger.ends)
            offset = ledger.ends[partition]
            made = value(event_id(ledger.tag, partition, offset), partition, offset)
            if len(producer) >= _QUEUE_LIMIT:
                producer.flush(_FLUSH_TIMEOUT_S)
            producer.produce(
                self.topic,
                made,
                partition=partition,
                headers=self.headers(partition, offset),  # type: ignore[arg-type]  # None: without
                on_delivery=report(offset),
            )
            producer.poll(0)
            ledger.ends[partition] += 1
        if producer.flush(_FLUSH_TIMEOUT_S) or misplaced:
            raise RuntimeError(f"{self.topic} was not filled: {misplaced[:1] or 'time is up'}")

    def add_partitions(self, total: int) -> None:
        """Grow the topic to ``total`` partitions."""
        self.kafka.add_partitions(self.topic, total)
        for index in range(total):
            self.ledger.ends.setdefault(index, 0)
        self._producer = None  # it asks for the new partitions in minutes

    def recreate_topic(self, ledger: Ledger) -> None:
        """Delete the topic and create it again, to be filled as the ledger says."""
        self.judge.start_again(ledger)
        self.kafka.delete_topic(self.topic)
        self.kafka.create_topic(self.topic, len(ledger.ends))
        self._producer = None  # it knows the old topic's ID

    @contextmanager
    def feeding(self, count: int, per_s: int) -> Iterator[None]:
        """Add messages at a steady rate beside the block, and wait for the last one at its end."""
        failures: list[BaseException] = []
        batch = max(1, per_s // 10)

        def feed() -> None:
            try:
                for start in range(0, count, batch):
                    self.produce(min(batch, count - start))
                    time.sleep(batch / per_s)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=feed, name="feed", daemon=True)
        thread.start()
        yield
        thread.join()
        if failures:
            raise failures[0]

    def start(self, *arguments: str, workers: int = 1, servers: str = "") -> ConsumerProcess:
        """Start one more consumer of the group."""
        member = ConsumerProcess(
            self.folder,
            *("--topic", self.consumer, "--physical-topic", self.topic, "--group", self.group),
            *("--bootstrap-servers", servers or self.kafka.bootstrap_servers),
            *("--upstream-dsn", self.upstream.dsn(), "--workers", str(workers)),
            *self.arguments,
            *arguments,
            environment=self.environment,
        )
        self.members.append(member)
        return member

    def kill(self, member: ConsumerProcess) -> None:
        """Kill a consumer with SIGKILL, and allow what it had delivered and not committed."""
        owned = partitions_of(member)
        before = self.judge.commits()
        member.signal(signal.SIGKILL)
        self.faults["consumer SIGKILL"] += 1
        member.wait()
        self._end(member)
        # A worker notices the closed pipe at once; what it has on the wire is accepted first.
        time.sleep(0.1)
        self.bound += self.ledger.exposed(before, owned) + CONNECTIONS

    @contextmanager
    def interrupting(self, timeout_s: float = 120) -> Iterator[None]:
        """Let Kafka be away during the block, and wait for the next commit after it. Allow what
        was delivered and not committed, if a consumer lost its partitions.
        """
        before, lost = self.judge.commits(), self.events("partitions_lost")
        partitions = list(self.ledger.ends)
        yield
        delivered = 0

        def has_committed() -> bool:
            nonlocal delivered
            self._running()
            try:
                commits = self.judge.commits()
            except KafkaException:
                return False
            if commits == before and not self._is_committed(commits):
                delivered = self.ledger.exposed(before, partitions)
                return False
            return True

        wait_until(has_committed, timeout_s=timeout_s, what="the next commit", interval_s=0.2)
        if self.events("partitions_lost") > lost:
            self.bound += delivered

    def terminate(self, member: ConsumerProcess) -> None:
        """Stop a consumer with SIGTERM, which must end with 0."""
        self.faults["consumer SIGTERM"] += 1
        self._stop(member)

    def wait_for_end(self, member: ConsumerProcess, code: int, timeout_s: float = 60) -> None:
        """Wait until a consumer has ended by itself, with that exit code."""
        if (found := member.wait(timeout_s)) != code:
            self.judge.problems.append(f"a consumer ended with {found}, expected {code}")
        self._end(member)

    def _stop(self, member: ConsumerProcess) -> None:
        member.signal(signal.SIGTERM)
        if (code := member.wait(_TERM_TIMEOUT_S)) != 0:
            self.judge.problems.append(f"a consumer ended with {code} after SIGTERM")
        self._end(member)

    def _end(self, member: ConsumerProcess) -> None:
        member.__exit__(None, None, None)
        self.members.remove(member)
        self._ended.append(member)

    def moments(self, count: int, *, share: float = 0.9) -> list[int]:
        """Draw numbers of accepted messages at which something fails, in order."""
        last = int(self.ledger.messages * share)
        return sorted(self.chance.randrange(last // 50, last) for _ in range(count))

    def wait_for_accepted(self, count: int, timeout_s: float = 120) -> None:
        """Block until upstream has accepted that many different messages."""
        wait_until(
            lambda: self.upstream.distinct >= count or not self._running(),
            timeout_s=timeout_s,
            what=f"{count} accepted messages ({self.upstream.distinct} now)",
        )

    def _running(self) -> bool:
        """Whether all consumers run; one that ended by itself fails the row."""
        for member in self.members:
            if not member.is_running:
                raise RuntimeError(f"a consumer ended with {member.wait()}:\n{_tail(member)}")
        return True

    def wait_for_commit(self, timeout_s: float = 120) -> None:
        """Block until everything that was produced so far is committed."""

        def committed() -> bool:
            self._running()
            try:
                return self._is_committed(self.judge.commits())
            except KafkaException:
                return False

        wait_until(committed, timeout_s=timeout_s, what="the last commit", interval_s=0.2)

    def _is_committed(self, commits: Mapping[int, Commit]) -> bool:
        ends = {index: end for index, end in self.ledger.ends.items() if end}
        return {index: each.offset for index, each in commits.items()} == ends

    def finish(self, timeout_s: float = 120) -> None:
        """Wait until everything is committed, and stop the consumers with SIGTERM."""
        self.wait_for_commit(timeout_s)
        for member in list(self.members):
            member.wait_for("consuming")
            self._stop(member)

    def events(self, name: str) -> int:
        """Count a log event over all consumers."""
        return sum(len(member.events(name)) for member in self.logs)


def partitions_of(member: ConsumerProcess) -> list[int]:
    """Return the partitions that the consumer holds, by its log."""
    held: set[int] = set()
    changes = {"partitions_assigned": held.update, "partitions_revoked": held.difference_update}
    for line in member.output().splitlines():
        if '"partitions_' not in line or not line.endswith("}"):
            continue  # the last line may be half written
        event = json.loads(line)
        if event["event"] in changes:
            changes[event["event"]](int(name.rpartition("/")[2]) for name in event["partitions"])
    return sorted(held)


def _tail(member: ConsumerProcess) -> str:
    return "\n".join(member.output().splitlines()[-20:])
