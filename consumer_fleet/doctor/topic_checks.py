"""A consumer's topics: existence, replicas, retention, and the rights of this user."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from consumer_fleet.doctor.finding import Finding, Subject, ok, problem, warning
from consumer_fleet.humanize import counted, short_duration
from consumer_fleet.kafka.cluster import HEADER_ROOM_BYTES, Cluster
from consumer_fleet.kafka.retention import Retention, parse_retention
from consumer_fleet.kafka.topic_facts import Operations, TopicFacts
from consumer_fleet.status.report import name_partitions

_SHORT_RETENTION_S: Final = 24 * 3600
_AHEAD_S: Final = 60.0


def judge_topic(topic: TopicFacts, subject: Subject, server: str) -> Iterator[Finding]:
    """The topic to consume."""
    if topic.is_missing:
        yield _missing(topic, subject, server)
        return
    if not topic.exists:
        # A user without rights is not told whether it exists; ``topic.access`` reports that.
        if topic.error != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            yield _unknown("topic.exists", topic)
        return
    count = len(topic.partitions)
    most = "one process" if count == 1 else f"at most {count} processes"
    yield ok("topic.exists", topic.name, f"{counted(count, 'partition')}: {most} can share it")
    yield from judge_replicas("topic.replicas", topic, server)
    if topic.settings is not None:
        yield judge_retention(topic, parse_retention(topic.settings), server)


def _missing(topic: TopicFacts, subject: Subject, server: str) -> Finding:
    fix = (
        f"Create it, or set physical_topic to its name on this cluster.\n"
        f"kafka-topics.sh --bootstrap-server {server} --create --topic {topic.name}"
    )
    seen = "the topic does not exist"
    if subject.is_wanted:
        return problem("topic.exists", topic.name, seen, fix)
    return warning("topic.exists", topic.name, f"{seen}; no consumer of it is configured", fix)


def _unknown(check: str, topic: TopicFacts) -> Finding:
    """Neither existing nor missing: no answer, or an invalid name."""
    fix = "Correct the topic's name."
    if topic.is_silent:
        fix = "Check the brokers' logs, then retry."
    return problem(check, topic.name, topic.error_text, fix)


def judge_replicas(check: str, topic: TopicFacts, server: str) -> Iterator[Finding]:
    """Partitions that can't be used, or can't after one more failure."""
    show = f"kafka-topics.sh --bootstrap-server {server} --describe --topic {topic.name}"
    leaderless = [each.index for each in topic.partitions if not each.has_leader]
    if leaderless:
        yield problem(
            check,
            topic.name,
            f"no leader for {name_partitions(leaderless)}: nothing can be read from there",
            f"Start the brokers that hold them.\n{show}",
        )
    behind = [each.index for each in topic.partitions if each.in_sync < each.replicas]
    if behind:
        yield warning(
            check,
            topic.name,
            f"replicas are missing or behind for {name_partitions(behind)}",
            f"Start the missing brokers, or let them catch up.\n{show}",
        )


def judge_retention(topic: TopicFacts, retention: Retention, server: str) -> Finding:
    """The outage that a topic's retention survives."""
    check = "topic.retention"
    if retention.compacts:
        return warning(
            check,
            topic.name,
            "Kafka compacts it: only the last message of each key is kept",
            "Messages that are compacted before they are read are lost. Deletion by age is safer:\n"
            + alter(server, topic.name, "cleanup.policy=delete"),
        )
    limits = []
    if retention.time_ms is not None:
        limits.append(f"for {short_duration(retention.time_ms / 1000)}")
    if retention.max_bytes is not None:
        limits.append(f"up to {retention.max_bytes:,} bytes per partition")
    seen = f"messages are kept {' and '.join(limits) or 'forever'}"
    if retention.time_ms is not None and retention.time_ms < _SHORT_RETENTION_S * 1000:
        return warning(
            check,
            topic.name,
            seen,
            "A longer outage of the destinations loses messages. To keep them for three days:\n"
            + alter(server, topic.name, f"retention.ms={3 * _SHORT_RETENTION_S * 1000}"),
        )
    return ok(check, topic.name, seen)


def judge_dead_letter_topic(
    topic: TopicFacts, source: TopicFacts, server: str
) -> Iterator[Finding]:
    """A dead letter topic that exists. It should keep everything, and accept any message."""
    yield ok("dead_letters.exists", topic.name, "exists")
    yield from judge_replicas("dead_letters.replicas", topic, server)
    if topic.settings is None:
        return
    retention = parse_retention(topic.settings)
    lasting = ",".join(_lasting(retention))
    if lasting:
        yield warning(
            "dead_letters.retention",
            topic.name,
            "dead letters expire there, handled or not",
            f"To keep them until somebody removes them:\n{alter(server, topic.name, lasting)}",
        )
    room, largest = topic.number("max.message.bytes"), source.number("max.message.bytes")
    if room is not None and largest is not None and room < largest + HEADER_ROOM_BYTES:
        yield warning(
            "dead_letters.size",
            topic.name,
            f"accepts {room:,} bytes per message, its source {largest:,}",
            "A dead letter that is too large blocks its partition. To make room:\n"
            + alter(server, topic.name, f"max.message.bytes={largest + HEADER_ROOM_BYTES}"),
        )
    needed = topic.number("min.insync.replicas") or 1
    short = [each.index for each in topic.partitions if each.in_sync < needed]
    if short:
        yield problem(
            "dead_letters.replicas",
            topic.name,
            f"refuses messages: fewer than min.insync.replicas = {needed} replicas are in sync for "
            f"{name_partitions(short)}",
            "Start the missing brokers.",
        )


def _lasting(retention: Retention) -> Iterator[str]:
    """The settings that keep messages from expiring."""
    if retention.compacts:
        yield "cleanup.policy=delete"
    if retention.time_ms is not None:
        yield "retention.ms=-1"
    if retention.max_bytes is not None:
        yield "retention.bytes=-1"


def newest_message(topic: TopicFacts, newest_ms: int, now_s: float | None = None) -> Finding:
    """A message from the future: a clock is wrong, the producer's or this machine's."""
    ahead_s = newest_ms / 1000 - (time.time() if now_s is None else now_s)
    if ahead_s <= _AHEAD_S:
        age = short_duration(max(0.0, -ahead_s))
        return ok("topic.clock", topic.name, f"the newest message is {age} old")
    return warning(
        "topic.clock",
        topic.name,
        f"the newest message is {short_duration(ahead_s)} ahead of this machine's clock",
        "Synchronise this machine's clock and the producer's by NTP: ages and retention depend on "
        "them.",
    )


def alter(server: str, topic: str, settings: str) -> str:
    """The command that changes a topic's settings; brackets keep commas in a value together."""
    return (
        f"kafka-configs.sh --bootstrap-server {server} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {settings}"
    )


# -- rights ------------------------------------------------------------------------------------


def examine_access(
    cluster: Cluster,
    subject: Subject,
    source: TopicFacts,
    dead_letters: TopicFacts | None,
    server: str,
) -> Iterator[Finding]:
    """All findings about rights. A cluster without an authorizer allows everything."""
    yield from topic_access(source, server)
    try:
        operations = cluster.group_operations(subject.group)
    except KafkaException as error:
        yield group_refused(subject.group, error.args[0], server)
    else:
        yield from group_access(subject.group, operations, server)
    if dead_letters is None:
        return
    if dead_letters.exists or dead_letters.error == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        yield from dead_letter_access(dead_letters, server)
    else:
        yield judge_creation(dead_letters.name, cluster.try_creating(dead_letters.name), server)


def topic_access(topic: TopicFacts, server: str) -> Iterator[Finding]:
    """The rights to read a topic, and its settings, without which retention is unknown."""
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
            f"its settings may not be read ({topic.settings_error}): retention is unknown",
            _grant("topic", topic.name, "DescribeConfigs", server),
        )
    elif not _lacks("READ", topic.operations):
        yield ok("topic.access", topic.name, _allowed("it may be read", topic.operations))


def group_access(group: str, operations: Operations, server: str) -> Iterator[Finding]:
    """The right to join and to commit, which is one."""
    if _lacks("READ", operations):
        yield _refused("group.access", "group", group, "Read", server)
    else:
        yield ok("group.access", group, _allowed("it may be joined", operations))


def group_refused(group: str, error: KafkaError, server: str) -> Finding:
    """The group could not be described."""
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return _refused("group.access", "group", group, "Read", server)
    return warning(
        "group.access",
        group,
        f"its coordinator does not answer: {error.str()}",
        "Check the brokers' logs, then retry.",
    )


def dead_letter_access(topic: TopicFacts, server: str) -> Iterator[Finding]:
    if not topic.exists:
        yield problem(
            "dead_letters.access",
            topic.name,
            "it may not be described: if it exists, it may not be written to",
            _grant("topic", topic.name, "Write", server),
        )
    elif _lacks("WRITE", topic.operations):
        yield _refused("dead_letters.access", "topic", topic.name, "Write", server)
    else:
        yield ok(
            "dead_letters.access", topic.name, _allowed("it may be written to", topic.operations)
        )


def judge_creation(topic: str, refusal: KafkaError | None, server: str) -> Finding:
    """A missing dead letter topic, which the first run creates if it may."""
    if refusal is None:
        return ok("dead_letters.exists", topic, "does not exist yet; the first run creates it")
    if refusal.code() in (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    ):
        why = "this user may not create it"
    else:
        why = f"it can't be created: {refusal.str()}"
    return problem(
        "dead_letters.exists",
        topic,
        f"does not exist, and {why}",
        f"Create it, name another one with dlq_topic, or grant Create.\n"
        f"kafka-topics.sh --bootstrap-server {server} --create --topic {topic} "
        f"--partitions 1 --config retention.ms=-1",
    )


def _lacks(right: str, operations: Operations) -> bool:
    # A broker that does not say may well allow it.
    return operations is not None and not operations & {right, "ALL"}


def _allowed(what: str, operations: Operations) -> str:
    return what if operations is not None else "the cluster does not tell what is allowed"


def _refused(check: str, kind: str, name: str, right: str, server: str) -> Finding:
    return problem(check, name, f"{right} is not allowed", _grant(kind, name, right, server))


def _grant(kind: str, name: str, right: str, server: str) -> str:
    return (
        "Grant it, as an administrator, to the user that consumes:\n"
        f"kafka-acls.sh --bootstrap-server {server} --add --allow-principal User:NAME "
        f"--operation {right} --{kind} {name}"
    )


def examine_topics(cluster: Cluster, subject: Subject, server: str) -> Iterator[Finding]:
    """A consumer's topic and its dead letter topic, and what this user may do with them."""
    names = [subject.topic]
    if subject.dead_letter_topic not in (None, subject.topic):
        names.append(str(subject.dead_letter_topic))
    facts = cluster.describe_topics(names)
    source = facts[subject.topic]
    yield from judge_topic(source, subject, server)
    if source.is_silent or (source.is_missing and not subject.is_wanted):
        return
    if source.exists:
        newest_ms = cluster.newest_timestamp_ms(source)
        if newest_ms is not None:
            yield newest_message(source, newest_ms)
    dead_letters = facts[names[1]] if len(names) > 1 else None
    if dead_letters is not None and dead_letters.exists:
        yield from judge_dead_letter_topic(dead_letters, source, server)
    yield from examine_access(cluster, subject, source, dead_letters, server)
