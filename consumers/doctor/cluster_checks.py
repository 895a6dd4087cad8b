"""From the login on: the cluster, its topics and its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException

from consumers.commands.cluster_options import ClusterOptions
from consumers.doctor.access_checks import examine_access
from consumers.doctor.checkup import Check, check_up
from consumers.doctor.cluster_facts import (
    ClusterFacts,
    Login,
    TopicFacts,
    describe_cluster,
    describe_topics,
    log_in,
    newest_timestamp_ms,
)
from consumers.doctor.finding import Finding, ok, problem
from consumers.doctor.group_checks import examine_group
from consumers.doctor.server_checks import examine_server
from consumers.doctor.server_probe import is_sasl, mechanism
from consumers.doctor.subjects import Subject
from consumers.doctor.topic_checks import judge_dead_letter_topic, judge_topic, newest_message
from fleet.errors import ConfigurationError

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
    others = [broker for broker in facts.brokers if broker not in named][:_MOST_BROKERS]
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
