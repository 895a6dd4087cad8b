"""Consumer groups seen from outside: their members, their committed offsets, and moving them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from consumer_fleet.errors import ConfigurationError, FleetError, GroupIsActive, KafkaUnreachable
from consumer_fleet.kafka.broker_watch import BrokerWatch
from consumer_fleet.kafka.clients import (
    NO_ACCESS,
    admin_config,
    answered,
    ask_patiently,
    fetch_metadata,
    is_moving,
    login_refusal,
    make_client,
    unjoined_config,
    unreachable,
)
from consumer_fleet.kafka.open_offsets import CommitMetadata
from consumer_fleet.kafka.reader import PartitionId, Range

_Answer = TypeVar("_Answer")

REQUEST_TIMEOUT_S = 5.0
_HAS_MEMBERS = (
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.NON_EMPTY_GROUP,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.STALE_MEMBER_EPOCH,
)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a group, and its assignment."""

    member_id: str
    client_id: str
    host: str
    instance_id: str | None
    assigned: frozenset[PartitionId]

    def __str__(self) -> str:
        return f"{self.client_id} on {self.host.lstrip('/')}"


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator describes it. ``state`` is Kafka's own word in lower case, or
    ``absent`` if the group does not exist; ``protocol`` is classic or consumer (KIP-848).
    """

    name: str
    state: str
    protocol: str
    members: tuple[Member, ...] = ()

    @property
    def exists(self) -> bool:
        return self.state != "absent"

    def raise_if_active(self) -> None:
        """Raise GroupIsActive, naming the members, if there are any."""
        if self.members:
            named = ", ".join(str(member) for member in self.members[:3])
            more = len(self.members) - 3
            raise GroupIsActive(
                f"group {self.name!r} has active members, which would overwrite its offsets; stop "
                f"them first: {named}{f' and {more} more' if more > 0 else ''}"
            )


class Groups:
    """Asks the cluster about groups, topics and offsets. Every method blocks on the broker.

    Raises KafkaUnreachable if no broker responds within ``timeout_s``, ConfigurationError if access
    is refused. Clients are kept between calls. Used from one thread; a context manager.
    """

    def __init__(
        self, base_config: Mapping[str, Any], *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        self._base_config = base_config
        self._timeout_s = timeout_s
        self._servers = str(base_config.get("bootstrap.servers", ""))
        self._clients: dict[str, Consumer] = {}
        self._leaderless: set[PartitionId] = set()
        self._brokers = BrokerWatch()
        own = {"error_cb": self._brokers.note}
        self.admin = make_client(AdminClient, {**admin_config(base_config), **own})

    # -- topics and groups -----------------------------------------------------------------------

    def topics(self) -> dict[str, list[int]]:
        """Every topic of the cluster but Kafka's internal ones, with its partitions."""
        try:
            metadata = fetch_metadata(
                self.admin, self._timeout_s, lambda: str(self._brokers.login_refused or "")
            )
        except KafkaException as error:
            if self._brokers.login_refused is not None:
                raise login_refusal(self._brokers.login_refused) from error
            why = f"{error.args[0].str()}{self._brokers.because}"
            raise unreachable(self._base_config, why) from error
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

    def listed(self) -> dict[str, str]:
        """Every group that this user may see, and its state (see `Group`)."""

        def ask() -> Any:
            answer = self.admin.list_consumer_groups(request_timeout=self._timeout_s)
            return self._result(answer, "the groups")

        found = self._patiently(ask, "the groups").valid
        return {listing.group_id: _state(listing.state) for listing in sorted(found, key=_name)}

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

    def visible(self, names: Collection[str]) -> dict[str, Group]:
        """Those of these groups that exist and that this user may describe."""
        if not names:
            return {}
        answers = self.admin.describe_consumer_groups(
            sorted(names), request_timeout=self._timeout_s
        )
        found = {}
        for name, answer in answers.items():
            with suppress(KafkaException):
                group = _group(answer.result())
                if group.exists:
                    found[name] = group
        return found

    # -- offsets --------------------------------------------------------------------------------

    def starts(self, partitions: Collection[PartitionId]) -> dict[PartitionId, int]:
        """The oldest stored offsets. Partitions without a leader are left out, and so are those
        that were deleted.
        """
        return self._offsets(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # unannotated there

    def ends(self, partitions: Collection[PartitionId]) -> dict[PartitionId, int]:
        """The offset that the next message will get: Kafka's own tool computes lag from it, open
        transactions included.
        """
        return self._offsets(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # unannotated there

    def ranges(self, partitions: Collection[PartitionId]) -> dict[PartitionId, Range]:
        """Starts and ends together."""
        return ranges_of(self.starts(partitions), self.ends(partitions))

    def at_time(
        self, partitions: Collection[PartitionId], timestamp_ms: int
    ) -> dict[PartitionId, int | None]:
        """The first offset with that timestamp or a later one; None if no message has one."""
        spec = OffsetSpec.for_timestamp(timestamp_ms)
        found = self._offsets(partitions, spec)
        return {partition: offset if offset >= 0 else None for partition, offset in found.items()}

    def _offsets(self, partitions: Collection[PartitionId], spec: Any) -> dict[PartitionId, int]:
        # One partition without a leader would delay the answer for all.
        wanted = {
            TopicPartition(*partition): spec
            for partition in partitions
            if partition not in self._leaderless
        }
        if not wanted:
            return {}

        def ask() -> dict[PartitionId, int]:
            answers = self.admin.list_offsets(
                wanted,
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=self._timeout_s,
            )
            return {
                (at.topic, at.partition): self._result(answer, f"topic {at.topic!r}").offset
                for at, answer in answers.items()
                if not self._is_of_deleted(answer)
            }

        return self._patiently(ask, "the topics")

    def _is_of_deleted(self, answer: Future[Any]) -> bool:
        error = answer.exception(2 * self._timeout_s)
        return (
            isinstance(error, KafkaException)
            and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        )

    def committed(self, group: str, partitions: Collection[PartitionId]) -> dict[PartitionId, int]:
        """The group's committed offsets. Partitions without one are left out."""
        found = self.commits(group, partitions)
        return {partition: offset for partition, (offset, _) in found.items()}

    def commits(
        self, group: str, partitions: Collection[PartitionId]
    ) -> dict[PartitionId, tuple[int, CommitMetadata]]:
        """The same, and what each commit says of messages that are held behind it."""
        if not partitions:
            return {}
        # Not the admin client's request: while a coordinator is still loading its groups, that one
        # ends the process with a segmentation fault (confluent-kafka 2.16).
        client = self._client(group)
        targets = [TopicPartition(*partition) for partition in partitions]
        found = self._patiently(
            lambda: answered(client.committed(targets, timeout=self._timeout_s)), f"group {group!r}"
        )
        return {
            (target.topic, target.partition): (
                target.offset,
                CommitMetadata.read(target.metadata, target.offset),
            )
            for target in found
            if target.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[PartitionId, int]) -> None:
        """Move the group. Raises GroupIsActive if it has members: the broker itself refuses, so
        none can join between a check and this.
        """
        client = self._client(group)
        targets = [TopicPartition(*partition, offset) for partition, offset in offsets.items()]
        self._patiently(
            lambda: answered(client.commit(offsets=targets, asynchronous=False) or []),
            f"group {group!r}",
        )

    def prepare(self, names: Iterable[str]) -> None:
        """Connect the clients of these groups at the same time, before they are used."""
        for name in names:
            self._client(name)

    def release(self, name: str) -> None:
        """Close the client of a group that is not asked again soon."""
        client = self._clients.pop(name, None)
        if client is not None:
            client.close()

    def _client(self, group: str) -> Consumer:
        if group not in self._clients:
            self._clients[group] = make_client(Consumer, unjoined_config(self._base_config, group))
        return self._clients[group]

    # -- answers --------------------------------------------------------------------------------

    def _result(self, answer: Future[Any], what: str) -> Any:
        """Raises KafkaException where `_patiently` asks again."""
        try:
            return answer.result(2 * self._timeout_s)
        except KafkaException as error:
            if is_moving(error.args[0]):
                raise
            raise self._translate(error.args[0], what) from error

    def _patiently(self, ask: Callable[[], _Answer], what: str) -> _Answer:
        """Retry, for as long as one request may take, while a leader or a coordinator moves."""
        try:
            return ask_patiently(ask, self._timeout_s)
        except KafkaException as error:
            raise self._translate(error.args[0], what) from error

    def _translate(self, error: KafkaError, what: str) -> FleetError:
        if error.code() in NO_ACCESS:
            return ConfigurationError(f"Kafka refuses access to {what}: {error.str()}")
        if error.code() in _HAS_MEMBERS:
            return GroupIsActive(f"{what} has active members: stop them first ({error.str()})")
        self.admin.poll(0)  # lets librdkafka say why
        why = f"{error.str()}{self._brokers.because}"
        return KafkaUnreachable(f"{what}: no response from Kafka at {self._servers}: {why}")

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ranges_of(
    starts: Mapping[PartitionId, int], ends: Mapping[PartitionId, int]
) -> dict[PartitionId, Range]:
    """Those of which both are known."""
    return {each: Range(start, ends[each]) for each, start in starts.items() if each in ends}


def _name(listing: Any) -> str:
    return str(listing.group_id)


def _state(state: Any) -> str:
    """Kafka's own word. A coordinator calls a group that it does not know "dead"."""
    word: str = state.name.lower().replace("_", "-")
    return "absent" if word == "dead" else word


def _group(description: Any) -> Group:
    members = [
        Member(
            member_id=member.member_id,
            client_id=member.client_id,
            host=member.host,
            instance_id=member.group_instance_id,
            assigned=frozenset(
                (target.topic, target.partition) for target in member.assignment.topic_partitions
            ),
        )
        for member in description.members
    ]
    protocol = "consumer" if description.type.name == "CONSUMER" else "classic"
    return Group(description.group_id, _state(description.state), protocol, tuple(members))


def reset_command(group: str, topic: str, to: str = "earliest") -> str:
    """The command that shows what moving the group would do; ``--execute`` does it."""
    return f"consumer offsets reset --group {group} --topic {topic} --to {to}"
