"""Consumer groups from outside: who is in them, where they stand, and how to move them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Self, TypeAlias, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from consumer_fleet.errors import ConfigurationError, FleetError, GroupIsActive, KafkaUnreachable
from consumer_fleet.kafka.clients import make_admin_client, make_client, unjoined_config
from consumer_fleet.kafka.reader import Range

#: A partition by its topic's name and its index.
Spot: TypeAlias = tuple[str, int]
_Answer = TypeVar("_Answer")

REQUEST_TIMEOUT_S = 5.0
_RETRY_S = 0.2
# What a broker answers for seconds after a start or a move of the group's coordinator.
_PASSES = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
)
_NO_ACCESS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_HAS_MEMBERS = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group, and what it is assigned."""

    member_id: str
    client_id: str
    host: str
    instance_id: str | None
    assigned: frozenset[Spot]

    def __str__(self) -> str:
        return f"{self.client_id} on {self.host.lstrip('/')}"


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator describes it. ``state`` is Kafka's own word in lower case, or
    ``absent`` where the coordinator knows no such group; ``protocol`` is classic or consumer
    (KIP-848).
    """

    name: str
    state: str
    protocol: str
    members: tuple[Member, ...] = ()

    @property
    def exists(self) -> bool:
        return self.state != "absent"

    def refuse_members(self) -> None:
        """Raise GroupIsActive, which names the members, unless there are none."""
        if self.members:
            named = ", ".join(str(member) for member in self.members[:3])
            more = len(self.members) - 3
            raise GroupIsActive(
                f"group {self.name!r} has active members, which would overwrite its offsets: stop "
                f"them first: {named}{f' and {more} more' if more > 0 else ''}"
            )


class Groups:
    """Asks the cluster about groups, topics and offsets. Every method blocks on the broker.

    Raises KafkaUnreachable where none answers within ``timeout_s``, ConfigurationError where
    access is refused. Clients are kept between calls. Used from one thread; a context manager.
    """

    def __init__(
        self, base_config: Mapping[str, Any], *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._base_config = base_config
        self._timeout_s = timeout_s
        self._servers = str(base_config.get("bootstrap.servers", ""))
        self._clients: dict[str, Consumer] = {}
        self._leaderless: set[Spot] = set()
        self.admin = make_admin_client(base_config)

    # -- what there is --------------------------------------------------------------------------

    def topics(self) -> dict[str, list[int]]:
        """Every topic of the cluster, Kafka's internal ones aside, with its partitions."""
        try:
            metadata = self.admin.list_topics(timeout=self._timeout_s)
        except KafkaException as error:
            self.admin.poll(0)  # lets librdkafka log why, a refused login for example
            raise KafkaUnreachable(
                f"no Kafka broker answers at {self._servers}: {error.args[0].str()}; check "
                "--bootstrap-servers, the network and the TLS or SASL settings"
            ) from error
        found = {
            name: topic.partitions
            for name, topic in metadata.topics.items()
            if topic.error is None and not name.startswith("__")
        }
        self._leaderless = {
            (name, index)
            for name, partitions in found.items()
            for index, partition in partitions.items()
            if partition.leader < 0
        }
        return {name: sorted(partitions) for name, partitions in found.items()}

    def names(self) -> list[str]:
        """The names of all groups that this user may see."""
        answer = self.admin.list_consumer_groups(request_timeout=self._timeout_s)
        return sorted(listing.group_id for listing in self._result(answer, "the groups").valid)

    def describe(self, names: Collection[str]) -> dict[str, Group]:
        """State and members, by group."""
        if not names:
            return {}

        def ask() -> dict[str, Group]:
            answers = self.admin.describe_consumer_groups(
                sorted(set(names)), request_timeout=self._timeout_s
            )
            return {name: _group(answer.result()) for name, answer in answers.items()}

        return self._patiently(ask, "the groups")

    def visible(self, names: Collection[str]) -> list[str]:
        """Those of these groups that are there, and that this user may look at now."""
        if not names:
            return []
        answers = self.admin.describe_consumer_groups(
            sorted(names), request_timeout=self._timeout_s
        )
        found = []
        for name, answer in answers.items():
            with suppress(KafkaException):
                if _group(answer.result()).exists:
                    found.append(name)
        return found

    # -- offsets --------------------------------------------------------------------------------

    def starts(self, spots: Collection[Spot]) -> dict[Spot, int]:
        """The oldest offset that is still there. Partitions without a leader are left out."""
        return self._offsets(spots, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # unannotated there

    def ends(self, spots: Collection[Spot]) -> dict[Spot, int]:
        """The offset that the next message will get: Kafka's own tool computes lag from it, open
        transactions included.
        """
        return self._offsets(spots, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # unannotated there

    def ranges(self, spots: Collection[Spot]) -> dict[Spot, Range]:
        """Starts and ends together."""
        starts, ends = self.starts(spots), self.ends(spots)
        return {spot: Range(start, ends[spot]) for spot, start in starts.items() if spot in ends}

    def at_time(self, spots: Collection[Spot], timestamp_ms: int) -> dict[Spot, int | None]:
        """The first offset with that timestamp or a later one; None where no message has."""
        spec = OffsetSpec.for_timestamp(timestamp_ms)
        found = self._offsets(spots, spec)
        return {spot: offset if offset >= 0 else None for spot, offset in found.items()}

    def _offsets(self, spots: Collection[Spot], spec: Any) -> dict[Spot, int]:
        # One partition without a leader would hold up the answer of all.
        wanted = {TopicPartition(*spot): spec for spot in spots if spot not in self._leaderless}
        if not wanted:
            return {}
        answers = self.admin.list_offsets(
            wanted,
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._timeout_s,
        )
        return {
            (place.topic, place.partition): self._result(answer, f"topic {place.topic!r}").offset
            for place, answer in answers.items()
        }

    def committed(self, group: str, spots: Collection[Spot]) -> dict[Spot, int]:
        """The group's committed offsets. Partitions without one are left out."""
        if not spots:
            return {}
        # Not the admin client's request: its answer of a coordinator that is still loading its
        # groups ends the process with a segmentation fault (confluent-kafka 2.16).
        client = self._client(group)
        places = [TopicPartition(*spot) for spot in spots]
        found = self._patiently(
            lambda: client.committed(places, timeout=self._timeout_s), f"group {group!r}"
        )
        return {
            (place.topic, place.partition): place.offset for place in found if place.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[Spot, int]) -> None:
        """Move the group. Raises GroupIsActive where it has members: the broker itself refuses,
        so that none can slip in between a check and this.
        """
        client = self._client(group)
        places = [TopicPartition(*spot, offset) for spot, offset in offsets.items()]
        answers = self._patiently(
            lambda: client.commit(offsets=places, asynchronous=False), f"group {group!r}"
        )
        for place in answers or []:
            if place.error is not None:
                raise self._translate(place.error, f"group {group!r}")

    def prepare(self, names: Iterable[str]) -> None:
        """Have the clients of these groups connect at the same time, before they are asked."""
        for name in names:
            self._client(name)

    def _client(self, group: str) -> Consumer:
        if group not in self._clients:
            self._clients[group] = make_client(Consumer, unjoined_config(self._base_config, group))
        return self._clients[group]

    # -- answers --------------------------------------------------------------------------------

    def _result(self, answer: Future[Any], what: str) -> Any:
        try:
            return answer.result(2 * self._timeout_s)
        except KafkaException as error:
            raise self._translate(error.args[0], what) from error

    def _patiently(self, ask: Callable[[], _Answer], what: str) -> _Answer:
        """Ask again, for as long as one request may take, while the coordinator gets ready."""
        deadline = monotonic() + self._timeout_s
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in _PASSES or monotonic() > deadline:
                    raise self._translate(error.args[0], what) from error
            sleep(_RETRY_S)

    def _translate(self, error: KafkaError, what: str) -> FleetError:
        if error.code() in _NO_ACCESS:
            return ConfigurationError(f"Kafka refuses access to {what}: {error.str()}")
        if error.code() in _HAS_MEMBERS:
            return GroupIsActive(f"{what} has active members: stop them first ({error.str()})")
        return KafkaUnreachable(f"{what}: no answer from Kafka at {self._servers}: {error.str()}")

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _group(description: Any) -> Group:
    state = description.state.name.lower().replace("_", "-")
    members = [
        Member(
            member_id=member.member_id,
            client_id=member.client_id,
            host=member.host,
            instance_id=member.group_instance_id,
            assigned=frozenset(
                (place.topic, place.partition) for place in member.assignment.topic_partitions
            ),
        )
        for member in description.members
    ]
    protocol = "consumer" if description.type.name == "CONSUMER" else "classic"
    # The coordinator calls a group that it has never seen dead.
    state = "absent" if state == "dead" else state
    return Group(description.group_id, state, protocol, tuple(members))


def reset_command(group: str, topic: str, to: str = "earliest") -> str:
    """What a person types to move the group; it shows what would happen, ``--execute`` does it."""
    return f"consumer offsets reset --group {group} --topic {topic} --to {to}"


@dataclass(frozen=True, slots=True)
class OutOfRange:
    """A position outside of what the broker holds, ``start`` to ``end`` (excluded)."""

    group: str
    topic: str
    partition: int
    committed: int
    start: int
    end: int

    @property
    def lost(self) -> int:
        """Offsets that were gone before they were read. None are where the position lies past the
        end: the topic was made anew, or has lost its tail.
        """
        return max(0, self.start - self.committed)

    def __str__(self) -> str:
        why = f"{self.lost:,} offsets are lost" if self.lost else "it lies past the end"
        return (
            f"{self.topic}/{self.partition}: group {self.group!r} stands at {self.committed}, the "
            f"broker holds {self.start} to {self.end}: {why}"
        )


def out_of_range(
    base_config: Mapping[str, Any], wanted: Iterable[tuple[str, str]]
) -> list[OutOfRange]:
    """Every such position of these (group, physical topic) pairs. Blocks on the broker.

    Topics that are not there and groups that never committed give nothing. Raises
    KafkaUnreachable, or ConfigurationError where access is refused.
    """
    found = []
    pairs = sorted(set(wanted))
    with Groups(base_config) as groups:
        present = groups.topics()
        groups.prepare(group for group, topic in pairs if topic in present)
        for group, topic in pairs:
            spots = [(topic, index) for index in present.get(topic, ())]
            # A group that is at work passes the start while it is asked about, so the start is
            # taken before its position, and the end after it.
            starts = groups.starts(spots)
            committed = groups.committed(group, spots)
            ends = groups.ends(spots)
            for spot, offset in sorted(committed.items()):
                if spot in starts and spot in ends and not starts[spot] <= offset <= ends[spot]:
                    position = OutOfRange(group, *spot, offset, starts[spot], ends[spot])
                    found.append(position)
    return found
