"""The login, the cluster behind it, and the group of each consumer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final

from confluent_kafka import KafkaError

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.doctor.finding import (
    Check,
    Finding,
    Subject,
    ok,
    problem,
    run_checks,
    warning,
)
from consumer_fleet.doctor.server_checks import examine_advertised, is_sasl, mechanism
from consumer_fleet.doctor.topic_checks import examine_topics
from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.humanize import counted, short_duration
from consumer_fleet.kafka.cluster import Cluster
from consumer_fleet.kafka.groups import Member, reset_command
from consumer_fleet.status.report import ConsumerStatus, PartitionStatus, name_partitions
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.targets import Target

# However large a cluster is, some of its brokers represent all of them.
_MOST_BROKERS: Final = 20
_SHORTEST_WAIT_S: Final = 1.0
_BROKERS_TIMEOUT_S: Final = 4.0
_UNREACHED: Final = (
    "Only the first connection goes to bootstrap_servers, all others to addresses that the brokers "
    "advertise. Topics and groups were not checked."
)


@dataclass(slots=True)
class Login:
    """The client, connected or not, and librdkafka's errors of its connections so far."""

    cluster: Cluster
    errors: list[KafkaError] = field(default_factory=list)
    failure: str = ""

    @property
    def refusal(self) -> str:
        """A broker's answer to the user name and password; empty if it accepted them."""
        for error in self.errors:
            if error.code() == KafkaError._AUTHENTICATION:
                return error.str()
        return ""


def log_in(kafka: Mapping[str, Any]) -> Login:
    """Connect as a consumer does. Blocks for seconds.

    Raises ConfigurationError for a setting that librdkafka refuses.
    """
    errors: list[KafkaError] = []
    cluster = Cluster(kafka, errors.append)
    return Login(cluster, errors, cluster.connect() or "")


def examine_cluster(
    cluster: ClusterOptions, subjects: Sequence[Subject], deadline: float
) -> Iterator[Finding]:
    """All findings that require a login. ``deadline`` is of the monotonic clock.

    Nothing behind a failed login is asked, as it would only fail again.
    """
    try:
        login = log_in(cluster.kafka)
    except ConfigurationError as error:
        yield problem("kafka.login", "kafka_config", str(error), "Correct or remove that setting.")
        return
    yield describe_login(login, cluster)
    if login.failure:
        return
    unreached = login.cluster.advertised_failure()
    if unreached is not None:
        yield from _examine_brokers(login.cluster, cluster)
        yield problem("kafka.cluster", cluster.servers, unreached, _UNREACHED)
        return
    checks = [
        Check("kafka.cluster", cluster.servers, partial(_examine_brokers, login.cluster, cluster))
    ]
    server = cluster.servers.partition(",")[0]
    for subject in subjects:
        topics = partial(examine_topics, login.cluster, subject, server)
        checks.append(Check("topic.exists", subject.topic, topics))
        groups = partial(examine_group, cluster, subject)
        checks.append(Check("group.position", subject.group, groups))
    yield from run_checks(checks, max(_SHORTEST_WAIT_S, deadline - monotonic()))


def describe_login(login: Login, cluster: ClusterOptions) -> Finding:
    """The result of connecting and logging in."""
    way = f"SASL {mechanism(cluster.kafka)}" if is_sasl(cluster.kafka) else "without a login"
    if login.refusal:
        return problem(
            "kafka.login",
            way,
            f"refused: {login.refusal}",
            "Check sasl.username and sasl.password in kafka_config (from the environment: "
            "CONSUMER_KAFKA_CONFIG_SASL_PASSWORD), and that the user exists in Kafka.",
        )
    if login.failure:
        return problem(
            "kafka.login",
            way,
            f"no broker answers at {cluster.servers}: {login.failure}",
            "See the findings about each server above. Topics and groups were not checked.",
        )
    return ok("kafka.login", way, "accepted")


def _examine_brokers(client: Cluster, cluster: ClusterOptions) -> Iterator[Finding]:
    if client.cluster_id is not None:
        yield describe_brokers(client)
    named = set(cluster.servers.split(","))
    others = [(number, name) for number, name in client.brokers.items() if name not in named]
    checks = [
        Check(
            "kafka.server", name, partial(examine_advertised, client, number, name, cluster.kafka)
        )
        for number, name in others[:_MOST_BROKERS]
    ]
    yield from run_checks(checks, _BROKERS_TIMEOUT_S)


def describe_brokers(client: Cluster) -> Finding:
    subject, brokers = f"cluster {client.cluster_id}", counted(len(client.brokers), "broker")
    if client.has_controller:
        return ok("kafka.cluster", subject, brokers)
    return problem(
        "kafka.cluster",
        subject,
        f"{brokers}, and no controller: no topic can be created, and no leader chosen",
        "Check the logs of the controllers.",
    )


# -- groups -------------------------------------------------------------------------------------


def examine_group(cluster: ClusterOptions, subject: Subject) -> Iterator[Finding]:
    """All findings about one group on its topic. Blocks for seconds; joins nothing."""
    target = Target(subject.name, subject.group, subject.topic)
    try:
        with Sampler(cluster, [target], ()) as sampler:
            (status,) = sampler.sample().consumers
    except (ConfigurationError, KafkaUnreachable) as error:
        yield warning(
            "group.position",
            subject.group,
            f"not checked: {error}",
            "See the findings about the access to it, and about the servers.",
        )
        return
    if not status.topic_exists:
        return
    yield from judge_members(status, cluster.kafka)
    yield judge_positions(status, cluster.options.auto_offset_reset)
    yield judge_lag(status)


def judge_members(status: ConsumerStatus, kafka: Mapping[str, Any]) -> Iterator[Finding]:
    """Members of other programs, and more members than partitions."""
    group, topic = status.target.group, status.target.topic
    members = status.group.members
    foreign = [each for each in members if _is_foreign(each, topic, str(kafka["client.id"]))]
    if foreign:
        named = ", ".join(str(member) for member in foreign[:3])
        yield problem(
            "group.members",
            group,
            f"another program is in it: {named}",
            "It takes partitions away and moves the offsets, so messages are skipped. Give this "
            "consumer a group of its own (group), or stop the other program.",
        )
    elif not members:
        yield ok("group.members", group, "no active members")
    else:
        yield ok("group.members", group, f"{counted(len(members), 'member')}, all of this program")
    if status.idle_members and status.group.state == "stable":
        yield warning(
            "group.members",
            group,
            f"{status.idle_members} of {len(members)} members have no partition: the topic has "
            f"{status.partitions}",
            "Run fewer processes, or add partitions to the topic.",
        )


def _is_foreign(member: Member, topic: str, client_id: str) -> bool:
    other_topics = {name for name, _ in member.assigned} - {topic}
    return member.client_id != client_id or bool(other_topics)


def judge_positions(status: ConsumerStatus, policy: str) -> Finding:
    """Committed offsets that the broker no longer stores, or not yet."""
    group, topic = status.target.group, status.target.topic
    bad = [row for row in status.rows if row.lost or row.past_end]
    if not bad:
        known = sum(row.committed is not None for row in status.rows)
        seen = f"{known} of {counted(status.partitions, 'partition')} have a committed offset"
        if known:
            return ok("group.position", group, f"{seen}, all in range")
        return ok("group.position", group, f"no committed offset yet; it starts at {policy}")
    seen = _out_of_range(group, topic, bad[0])
    if len(bad) > 1:
        where = name_partitions([row.index for row in bad])
        seen = f"{where} of {topic}: {sum(row.lost for row in bad):,} offsets are lost; {seen}"
    consequence = f"The consumer will continue at {policy} (auto_offset_reset)."
    if policy == "error":
        consequence = "auto_offset_reset is error: the consumer will stop here until it is reset."
    return problem(
        "group.position",
        group,
        f"OffsetOutOfRange: {seen}",
        f"{consequence} To see what a reset would do (--execute does it):\n"
        f"{reset_command(group, topic)}",
    )


def _out_of_range(group: str, topic: str, row: PartitionStatus) -> str:
    # Past the end: the topic was recreated, or has lost its tail.
    why = f"{row.lost:,} offsets are lost" if row.lost else "past the end"
    return (
        f"{topic}/{row.index}: group {group!r} is at offset {row.committed}, the broker stores "
        f"{row.start} to {row.end}: {why}"
    )


def judge_lag(status: ConsumerStatus) -> Finding:
    """The waiting messages, and when retention deletes them."""
    group = status.target.group
    waiting, loss, retention = status.waiting, status.loss, status.retention
    if waiting is None:
        return ok("group.lag", group, "it has not consumed yet")
    seen = f"{counted(waiting, 'message')} waiting"
    if loss is None or retention is None:
        return ok("group.lag", group, seen)
    seen += f"; retention may delete the oldest in {short_duration(loss.seconds)}"
    if loss.seconds < retention.low_s:
        return problem(
            "group.lag",
            group,
            seen,
            "Extend the topic's retention.ms now, then run more workers or processes, or find out "
            "why the destinations are slow.",
        )
    return ok("group.lag", group, seen)
