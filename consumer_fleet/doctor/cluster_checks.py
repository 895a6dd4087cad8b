"""From the login on: the cluster, its topics and its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.doctor.cluster_facts import (
    Login,
    describe_cluster,
    describe_topics,
    group_operations,
    log_in,
    may_create,
    newest_timestamp_ms,
)
from consumer_fleet.doctor.finding import Check, Finding, Subject, check_up, ok, problem, warning
from consumer_fleet.doctor.server_checks import examine_server, is_sasl, mechanism
from consumer_fleet.doctor.topic_checks import (
    examine_group,
    judge_dead_letter_topic,
    judge_topic,
    newest_message,
)
from consumer_fleet.errors import ConfigurationError
from consumer_fleet.kafka.cluster import ClusterFacts, TopicFacts


def examine_access(
    admin: AdminClient,
    subject: Subject,
    source: TopicFacts,
    dead_letters: TopicFacts | None,
    server: str,
) -> Iterator[Finding]:
    """All findings about rights. A cluster without an authorizer allows everything."""
    yield from topic_access(source, server)
    try:
        operations = group_operations(admin, subject.group)
    except KafkaException as error:
        yield group_refused(subject.group, error.args[0], server)
    else:
        yield from group_access(subject.group, operations, server)
    if dead_letters is None:
        return
    if dead_letters.exists or dead_letters.error == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        yield from dead_letter_access(dead_letters, server)
    else:
        yield judge_creation(dead_letters.name, may_create(admin, dead_letters.name), server)


def topic_access(topic: TopicFacts, server: str) -> Iterator[Finding]:
    """Reading, and reading the settings, without which retention can't be judged."""
    if topic.error == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        yield _refused("topic.access", "topic", topic.name, "Read", server)
    if not topic.exists:
        return
    if _lacks("READ", topic.operations):
        yield _refused("topic.access", "topic", topic.name, "Read", server)
    if topic.settings is None:
        yield warning(
            "topic.access",
            topic.name,
            f"its settings may not be read ({topic.settings_error}): retention is not checked",
            _grant("topic", topic.name, "DescribeConfigs", server),
        )
    elif not _lacks("READ", topic.operations):
        yield ok("topic.access", topic.name, _allowed("it may be read", topic.operations))


def group_access(group: str, operations: frozenset[str] | None, server: str) -> Iterator[Finding]:
    """Joining, and committing, which take the same right."""
    if _lacks("READ", operations):
        yield _refused("group.access", "group", group, "Read", server)
    else:
        yield ok("group.access", group, _allowed("it may be joined", operations))


def group_refused(group: str, error: KafkaError, server: str) -> Finding:
    """The group could not even be asked about."""
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return _refused("group.access", "group", group, "Read", server)
    return warning(
        "group.access",
        group,
        f"its coordinator does not answer: {error.str()}",
        "Look at the brokers' logs, and try again.",
    )


def dead_letter_access(topic: TopicFacts, server: str) -> Iterator[Finding]:
    if not topic.exists:
        yield problem(
            "dead_letters.access",
            topic.name,
            "it may not be looked at: if it exists, it may not be written to",
            _grant("topic", topic.name, "Write", server),
        )
    elif _lacks("WRITE", topic.operations):
        yield _refused("dead_letters.access", "topic", topic.name, "Write", server)
    else:
        yield ok(
            "dead_letters.access", topic.name, _allowed("it may be written to", topic.operations)
        )


def judge_creation(topic: str, refusal: KafkaError | None, server: str) -> Finding:
    """A dead letter topic that is missing: the consumer makes it, if it may."""
    if refusal is None:
        return ok(
            "dead_letters.exists", topic, "it is missing, and will be made at the first start"
        )
    if refusal.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        why = "may not be made by this user"
    else:
        why = f"can't be made: {refusal.str()}"
    return problem(
        "dead_letters.exists",
        topic,
        f"it is missing, and {why}",
        f"Create it, name another one with dlq_topic, or grant Create.\n"
        f"kafka-topics.sh --bootstrap-server {server} --create --topic {topic} "
        f"--partitions 1 --config retention.ms=-1",
    )


def _lacks(right: str, operations: frozenset[str] | None) -> bool:
    """A broker that does not tell may well allow it."""
    return operations is not None and not operations & {right, "ALL"}


def _allowed(what: str, operations: frozenset[str] | None) -> str:
    return what if operations is not None else "the cluster does not say what is allowed"


def _refused(check: str, kind: str, name: str, right: str, server: str) -> Finding:
    return problem(check, name, f"{right} is not allowed", _grant(kind, name, right, server))


def _grant(kind: str, name: str, right: str, server: str) -> str:
    return (
        "Grant it, as an administrator, to the user that consumes:\n"
        f"kafka-acls.sh --bootstrap-server {server} --add --allow-principal User:NAME "
        f"--operation {right} --{kind} {name}"
    )


# However large a cluster is, some of its brokers stand for all of them.
_MOST_BROKERS: Final = 20
_SHORTEST_WAIT_S: Final = 1.0


def examine_cluster(
    cluster: ClusterOptions, subjects: Sequence[Subject], deadline: float
) -> Iterator[Finding]:
    """All findings that take a login. ``deadline`` is of the monotonic clock.

    Nothing behind a failed login is asked, as it would only fail again.
    """
    try:
        login = log_in(cluster.kafka)
    except ConfigurationError as error:
        yield problem("kafka.login", "kafka_config", str(error), "Correct or remove that setting.")
        return
    yield judge_login(login, cluster)
    if login.failure:
        return
    checks = [Check("kafka.cluster", cluster.servers, partial(_examine_brokers, login, cluster))]
    for subject in subjects:
        topics = partial(_examine_topics, login, cluster, subject)
        checks.append(Check("topic.exists", subject.topic, topics))
        groups = partial(examine_group, cluster, subject)
        checks.append(Check("group.position", subject.group, groups))
    yield from check_up(checks, max(_SHORTEST_WAIT_S, deadline - monotonic()))


def judge_login(login: Login, cluster: ClusterOptions) -> Finding:
    """What came of connecting and logging in."""
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
            "See what is said of each server above. Topics and groups were not checked.",
        )
    return ok("kafka.login", way, "accepted")


def _examine_brokers(login: Login, cluster: ClusterOptions) -> Iterator[Finding]:
    try:
        facts = describe_cluster(login.admin)
    except KafkaException as error:
        yield problem(
            "kafka.cluster",
            cluster.servers,
            f"it does not describe itself: {error.args[0].str()}",
            "Look at the brokers' logs: without a controller a cluster is not whole.",
        )
        return
    yield judge_cluster(facts)
    named = set(cluster.servers.split(","))
    others = [broker for broker in facts.brokers.values() if broker not in named][:_MOST_BROKERS]
    checks = [
        Check("kafka.server", broker, partial(_examine_other, broker, cluster)) for broker in others
    ]
    yield from check_up(checks, 4.0)


def judge_cluster(facts: ClusterFacts) -> Finding:
    count = len(facts.brokers)
    return ok(
        "kafka.cluster", f"cluster {facts.cluster_id}", f"{count} broker{'' if count == 1 else 's'}"
    )


def _examine_other(broker: str, cluster: ClusterOptions) -> Iterator[Finding]:
    """A broker that others told of: its address has to be reachable from here too."""
    for finding in examine_server(broker, cluster.kafka):
        if finding.status == "ok":
            yield finding
        else:
            yield problem(
                finding.check,
                finding.subject,
                f"{finding.seen} (the cluster advertises this address)",
                f"{finding.fix}\nOr correct the broker's advertised.listeners.",
            )


def _examine_topics(login: Login, cluster: ClusterOptions, subject: Subject) -> Iterator[Finding]:
    """A consumer's topic and its dead letter topic, and what this user may do with them."""
    server = cluster.servers.partition(",")[0]
    names = [subject.topic]
    if subject.dead_letter_topic not in (None, subject.topic):
        names.append(str(subject.dead_letter_topic))
    facts = describe_topics(login.admin, names)
    source = facts[subject.topic]
    yield from judge_topic(source, subject, server)
    if source.is_silent or (source.is_missing and not subject.is_wanted):
        return
    if source.exists:
        newest_ms = newest_timestamp_ms(login.admin, source)
        if newest_ms is not None:
            yield newest_message(source, newest_ms)
    dead_letters: TopicFacts | None = facts.get(names[-1]) if len(names) > 1 else None
    if dead_letters is not None and dead_letters.exists:
        yield from judge_dead_letter_topic(dead_letters, source, server)
    yield from examine_access(login.admin, subject, source, dead_letters, server)
