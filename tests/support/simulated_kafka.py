"""A simulated Kafka group in one thread, driven by a seed.

``World`` knows the fate of each message and checks every commit against it. The clients replace
confluent-kafka's, and meet in a simulated second the faults that real ones meet in a bad week.
"""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from arroyo.types import Partition, Topic
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from consumer_fleet.kafka.open_offsets import CommitMetadata, OpenOffsets

TOPIC = "events"
_NOWHERE = Partition(Topic(TOPIC), 0)
_GIVE_UP_S = 4 * 3600.0

OnRebalance: TypeAlias = Callable[[Any, list[TopicPartition]], None]
Headers: TypeAlias = Sequence[tuple[str, bytes | None]]


class Clock:
    """A replacement for the ``time`` module: time passes only during a sleep."""

    def __init__(self) -> None:
        self.now = self._start = 1_790_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < self._start + _GIVE_UP_S, "the run got stuck"


@dataclass(frozen=True)
class Message:
    """A message or, with a code, an error of a partition."""

    place: tuple[int, int]
    code: int | None = None

    def topic(self) -> str:
        return TOPIC

    def partition(self) -> int:
        return self.place[0]

    def offset(self) -> int:
        return self.place[1]

    def error(self) -> KafkaError | None:
        return None if self.code is None else KafkaError(self.code)

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_700_000_000_000)

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes:
        return b"%d/%d" % self.place

    def headers(self) -> list[tuple[str, bytes]]:
        return [("h", b"1")]


@dataclass
class Answer:
    """The result for one partition of a commit."""

    topic: str
    partition: int
    offset: int
    error: KafkaError | None = None
    metadata: str | None = None


@dataclass
class World:
    """The topic, the group's offsets, and the fate of each message."""

    random: random.Random
    cooperative: bool
    # The remaining rebalances; with 0 nothing fails.
    unrest: int
    clock: Clock = field(default_factory=Clock)
    settled: set[tuple[int, int]] = field(default_factory=set)
    deliveries: Counter[tuple[int, int]] = field(default_factory=Counter)
    commits: int = 0
    # Nothing fails any more: the last member should end in order.
    quiet: bool = False
    # The member has been told to stop: it may decline what it is assigned now.
    stopping: bool = False
    # Members stop before the end; their successors read the rest, as far as it still exists.
    stops: bool = False
    # Workers set messages aside.
    parks: bool = False
    # Nothing fails and nothing is lost: members come and go, and each drains in order.
    orderly: bool = False
    read: set[tuple[int, int]] = field(default_factory=set)
    # Partitions of the member that ended last.
    left: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restless = bool(self.unrest)
        self.logs: list[list[int]] = []
        self.ends: list[int] = []
        for _ in range(self.random.randint(1, 4)):
            offset, log = self.random.choice([0, 0, 1000]), []
            for _ in range(self.random.randint(0, self.random.choice([4, 120]))):
                # A compacted message or a control record leaves a gap.
                offset += self.random.choice([1] * 9 + [3])
                log.append(offset)
            self.logs.append(log)
            self.ends.append(max(log, default=offset) + self.random.choice([1, 1, 2]))
        self.starts = [log[0] if log else 0 for log in self.logs]
        self.committed: dict[int, int] = {}
        self.metadata: dict[int, str] = {}
        self._checked = [0] * len(self.logs)

    @property
    def partitions(self) -> range:
        return range(len(self.logs))

    def check(self, partition: int, offset: int) -> None:
        """Fail on commit-ahead: each lower message must be settled."""
        self.commits += 1
        log = self.logs[partition]
        while self._checked[partition] < len(log) and log[self._checked[partition]] < offset:
            place = (partition, log[self._checked[partition]])
            ahead = f"{partition}@{offset} is committed ahead of {place}"
            assert place in self.settled or self.expired(place), ahead
            self._checked[partition] += 1

    def check_held(self, partition: int, offset: int, text: str) -> None:
        """Fail if a commit's metadata calls a message settled that is not."""
        left = CommitMetadata.read(text, offset)
        for each in self.logs[partition]:
            if offset <= each < left.high and each not in left.open:
                place = (partition, each)
                assert place in self.settled or self.expired(place), f"{place} is not settled"

    def expire(self) -> None:
        """Retention deletes a part of a partition, read or not."""
        partition = self.random.choice(self.partitions)
        self.starts[partition] = max(
            self.random.choice(self.logs[partition] or [0]), self.starts[partition]
        )

    def expired(self, place: tuple[int, int]) -> bool:
        """Whether the message was deleted before any member could read it."""
        partition, offset = place
        kept = place in self.read and self.calm
        return offset < self.starts[partition] and not kept

    def commit(self, partition: int, offset: int, metadata: str = "") -> None:
        assert offset >= self.committed.get(partition, 0), "a commit went back"
        self.committed[partition] = offset
        self.metadata[partition] = metadata

    def waiting(self, partition: int) -> list[int]:
        """Return the messages of a partition that are not committed and still exist."""
        start = max(self.committed.get(partition, 0), self.starts[partition])
        return [offset for offset in self.logs[partition] if offset >= start]

    def deliver(self, place: tuple[int, int]) -> None:
        self.deliveries[place] += 1
        self.settled.add(place)

    def elsewhere(self, partition: int, *, to_the_end: bool = False) -> None:
        """Let another member consume from the group's committed offset."""
        left = CommitMetadata.read(self.metadata.get(partition), self.committed.get(partition, 0))
        waiting = [o for o in self.waiting(partition) if o >= left.high or o in left.open]
        count = len(waiting) if to_the_end else self.random.choice([0, 0, len(waiting) // 2])
        for offset in waiting[:count]:
            self.deliver((partition, offset))
        if count:
            open_offsets = OpenOffsets(self.clock.time)
            open_offsets.leave(_NOWHERE, left.open.difference(waiting[:count]))
            settled = max(left.high, waiting[count - 1] + 1)
            offset, metadata = open_offsets.commit_of(_NOWHERE, settled, "")
            self.check(partition, offset)
            self.commit(partition, offset, metadata)

    @property
    def calm(self) -> bool:
        """Give one member every partition from the start to the end."""
        return not self.stops and not self.restless

    def chance(self, probability: float) -> bool:
        return not (self.quiet or self.orderly) and self.random.random() < probability


class SimulatedClient:
    """The part of confluent_kafka.Consumer that the chunk consumer uses."""

    def __init__(self, world: World, on_commit: Callable[..., None]) -> None:
        self.world = world
        self.positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._told_end: set[int] = set()
        # Fetchers that met a deleted offset: only a new assignment starts them again.
        self._stopped: set[int] = set()
        self._unanswered: list[list[Answer]] = []
        self._on_commit = on_commit
        self._fenced = False
        self._joining: list[int] | None = None

    # -- the group ------------------------------------------------------------------------------

    def subscribe(
        self, _: list[str], on_assign: OnRebalance, on_revoke: OnRebalance, on_lost: OnRebalance
    ) -> None:
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost
        self._joining = self._share()

    def _share(self) -> list[int]:
        if not self.world.unrest:
            return list(self.world.partitions)
        count = self.world.random.randint(0, len(self.world.partitions))
        return self.world.random.sample(list(self.world.partitions), count)

    def _serve_group(self) -> None:
        if self.world.quiet:
            return
        if self._joining is not None:
            if self.world.random.random() < 0.5:
                self._join(self._joining)
        elif self.world.cooperative and self.world.random.random() < 0.02:
            self._on_assign(self, [])  # others moved; this member keeps its partitions
        elif self.world.unrest and self.world.random.random() < 0.03:
            self.world.unrest -= 1
            self._leave(self._share())

    def _join(self, share: list[int]) -> None:
        self._joining = None
        fresh = [each for each in share if each not in self.positions]
        self._fenced = False
        if fresh or self.world.cooperative:
            self._on_assign(self, [TopicPartition(TOPIC, each) for each in fresh])
        applied = set(self.positions) == set(share)
        assert applied or self.world.stopping, "the assignment was not applied"

    def _leave(self, share: list[int]) -> None:
        """Give up the revoked partitions, or everything in an eager group."""
        self._joining = share
        lost = self.world.chance(0.2)
        everything = lost or not self.world.cooperative
        gone = [each for each in self.positions if everything or each not in share]
        if lost:
            self._fenced = True
            self._unanswered.clear()
            for each in gone:
                self.world.elsewhere(each)
        if gone:
            callback = self._on_lost if lost else self._on_revoke
            callback(self, [TopicPartition(TOPIC, each) for each in gone])
        for each in gone:
            self.positions.pop(each)
            self._paused.discard(each)
            if not lost:
                self.world.elsewhere(each)

    def close(self) -> None:
        gone = list(self.positions)
        self.world.left = gone
        if gone:
            self._on_revoke(self, [TopicPartition(TOPIC, each) for each in gone])

    def memberid(self) -> str:
        return "member"

    # -- reading --------------------------------------------------------------------------------

    def assign(self, targets: list[TopicPartition]) -> None:
        self.positions = {each.partition: each.offset for each in targets}
        self._told_end.clear()
        self._stopped.clear()

    def incremental_assign(self, targets: list[TopicPartition]) -> None:
        for each in targets:
            assert each.partition not in self.positions, "assigned twice"
            self.positions[each.partition] = each.offset
            self._told_end.discard(each.partition)
            self._stopped.discard(each.partition)

    def incremental_unassign(self, targets: list[TopicPartition]) -> None:
        for each in targets:
            del self.positions[each.partition]

    def seek(self, target: TopicPartition) -> None:
        assert target.partition in self.positions, "sought in a partition of somebody else"
        self.positions[target.partition] = target.offset
        self._told_end.discard(target.partition)
        read_again = {p for p in self.world.read if p >= (target.partition, target.offset)}
        self.world.read -= {place for place in read_again if place[0] == target.partition}

    def pause(self, targets: list[TopicPartition]) -> None:
        self._paused.update(each.partition for each in targets)

    def resume(self, targets: list[TopicPartition]) -> None:
        self._paused.difference_update(each.partition for each in targets)

    def poll(self, timeout: float) -> Message | None:
        self.world.clock.sleep(timeout)
        found = self.consume(1, 0)
        return found[0] if found else None

    def consume(self, num_messages: int, _: float) -> list[Message]:
        # Between two polls more time passes than a poll's wait.
        self.world.clock.sleep(self.world.random.choice([0.0, 0.0, 0.5]))
        self._answer_commits()
        self._serve_group()
        if self.world.chance(0.005):
            self.world.expire()
        found: list[Message] = []
        count = min(num_messages, self.world.random.randint(0, 20))
        for partition in self.positions:
            while partition not in self._paused | self._stopped and len(found) < count:
                found.extend(self._fetch(partition, count - len(found)))
                if self.world.random.random() < 0.8:
                    break
                if self.world.chance(0.05):
                    self.world.expire()
        self.world.read.update(each.place for each in found if each.code is None)
        return found

    def _fetch(self, partition: int, count: int) -> list[Message]:
        log, position = self.world.logs[partition], self.positions[partition]
        if position < self.world.starts[partition]:
            self._stopped.add(partition)
            return [Message((partition, position), KafkaError._AUTO_OFFSET_RESET)]
        first = bisect.bisect_left(log, position)
        here = log[first : first + count]
        found = [Message((partition, offset)) for offset in here]
        if here:
            self.positions[partition] = here[-1] + 1
        at_end = first + len(here) == len(log)
        if at_end and len(found) < count and partition not in self._told_end:
            self._told_end.add(partition)
            place = (partition, self.world.ends[partition])
            found.append(Message(place, KafkaError._PARTITION_EOF))
        return found

    # -- offsets --------------------------------------------------------------------------------

    def committed(self, targets: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        return [
            TopicPartition(
                TOPIC,
                each.partition,
                self.world.committed.get(each.partition, OFFSET_INVALID),
                self.world.metadata.get(each.partition, ""),
            )
            for each in targets
        ]

    def get_watermark_offsets(self, target: TopicPartition, **_: object) -> tuple[int, int]:
        return self.world.starts[target.partition], self.world.ends[target.partition]

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[Answer] | None:
        for each in offsets:
            assert each.partition in self.positions, "committed for somebody else's partition"
            self.world.check(each.partition, each.offset)
            self.world.check_held(each.partition, each.offset, each.metadata or "")
        assert asynchronous or not self._fenced, "waits for brokers to refuse what is lost"
        if self._fenced:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        answers = [
            Answer(TOPIC, each.partition, each.offset, metadata=each.metadata) for each in offsets
        ]
        self._unanswered.append(answers)
        if asynchronous:
            return None
        while len(self._unanswered) > 1:
            self._apply(self._unanswered.pop(0))
        self._unanswered.clear()
        if self.world.chance(0.3):
            raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT))
        self._apply(answers)
        return answers

    def _apply(self, answers: list[Answer]) -> None:
        """Apply a commit at the broker, where parts of it may fail."""
        for each in answers:
            if self.world.chance(0.1):
                each.error = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
            else:
                self.world.commit(each.partition, each.offset, each.metadata or "")

    def _answer_commits(self) -> None:
        while self._unanswered and not self.world.chance(0.5):
            answers = self._unanswered.pop(0)
            if self.world.chance(0.1):
                self._on_commit(KafkaError(KafkaError.REQUEST_TIMED_OUT), answers)
            else:
                self._apply(answers)
                self._on_commit(None, answers)


class SimulatedProducer:
    """The part of confluent_kafka.Producer that dead letters use; acknowledges late, or refuses."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._queue: list[tuple[float, Headers, Callable[..., None]]] = []
        self._refuses_until = 0.0

    def produce(
        self, _: str, *, key: object, value: bytes, headers: Headers, on_delivery: Any
    ) -> None:
        if self._world.chance(0.1):
            raise BufferError("Local: Queue full")
        facts = {name: bound or b"" for name, bound in headers}
        assert value == facts["dlq.partition"] + b"/" + facts["dlq.offset"]
        due = self._world.clock.now + self._world.random.choice([0.0, 0.1, 4.0])
        self._queue.append((due, headers, on_delivery))

    def poll(self, timeout: float) -> None:
        self._world.clock.sleep(timeout)
        now = self._world.clock.now
        if self._world.chance(0.005):
            self._refuses_until = now + 15.0
        due = [entry for entry in self._queue if entry[0] <= now]
        self._queue = [entry for entry in self._queue if entry[0] > now]
        for _, headers, on_delivery in due:
            if now < self._refuses_until:
                on_delivery(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
                continue
            facts = {name: int(bound or b"") for name, bound in headers if name in _PLACE}
            self._world.deliver((facts["dlq.partition"], facts["dlq.offset"]))
            on_delivery(None, None)

    def flush(self, timeout: float) -> None:
        self.poll(timeout)


_PLACE = ("dlq.partition", "dlq.offset")
