"""Are the topics there, whole, and set up to keep what is not consumed yet?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaError

from consumers.doctor.cluster_facts import TopicFacts
from consumers.doctor.finding import Finding, ok, problem, warning
from consumers.doctor.subjects import Subject
from consumers.figures import short_duration
from fleet.kafka.cluster import HEADER_ROOM_BYTES
from fleet.kafka.retention import Retention, parse_retention

_SHORT_RETENTION_S: Final = 24 * 3600
_AHEAD_S: Final = 60.0


def judge_topic(topic: TopicFacts, subject: Subject, server: str) -> Iterator[Finding]:
    """The topic that is consumed."""
    if topic.is_missing:
        yield _missing(topic, subject, server)
        return
    if not topic.exists:
        # Whether a topic is there is hidden from who may not use it; the access to it is a check.
        if topic.error != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            yield _unknown("topic.exists", topic)
        return
    count = len(topic.partitions)
    most = "one process" if count == 1 else f"at most {count} processes"
    plural = "" if count == 1 else "s"
    yield ok("topic.exists", topic.name, f"{count} partition{plural}: {most} can share it")
    yield from judge_replicas("topic.replicas", topic, server)
    if topic.settings is not None:
        yield judge_retention(topic, parse_retention(topic.settings), server)


def _missing(topic: TopicFacts, subject: Subject, server: str) -> Finding:
    fix = (
        f"Create it, or set physical_topic to the name that it has here.\n"
        f"kafka-topics.sh --bootstrap-server {server} --create --topic {topic.name}"
    )
    seen = "the topic does not exist"
    if subject.is_wanted:
        return problem("topic.exists", topic.name, seen, fix)
    return warning("topic.exists", topic.name, f"{seen}, but no consumer of it is configured", fix)


def _unknown(check: str, topic: TopicFacts) -> Finding:
    """Neither there nor missing: no answer, or the name can't be one."""
    fix = "Correct the topic's name."
    if topic.is_silent:
        fix = "Look at the brokers' logs, and try again."
    return problem(check, topic.name, topic.error_text, fix)


def judge_replicas(check: str, topic: TopicFacts, server: str) -> Iterator[Finding]:
    """Partitions that can't be used, and those that one more failure would make so."""
    look = f"kafka-topics.sh --bootstrap-server {server} --describe --topic {topic.name}"
    leaderless = [each.index for each in topic.partitions if not each.has_leader]
    if leaderless:
        yield problem(
            check,
            topic.name,
            f"no leader for {partitions(leaderless)}: nothing can be read there",
            f"Start the brokers that hold them.\n{look}",
        )
    behind = [each.index for each in topic.partitions if each.in_sync < each.replicas]
    if behind:
        yield warning(
            check,
            topic.name,
            f"replicas are missing or behind for {partitions(behind)}",
            f"Start the missing brokers, or let them catch up.\n{look}",
        )


def judge_retention(topic: TopicFacts, retention: Retention, server: str) -> Finding:
    """How long the consumer or its destinations may be away before messages are lost."""
    check = "topic.retention"
    if retention.compacts:
        return warning(
            check,
            topic.name,
            "Kafka compacts it: of messages with the same key, only the last is kept",
            "What is compacted before it is read is lost. Deletion by age is safer:\n"
            + alter(server, topic.name, "cleanup.policy=delete"),
        )
    limits = []
    if retention.time_ms is not None:
        limits.append(f"for {short_duration(retention.time_ms / 1000)}")
    if retention.max_bytes is not None:
        limits.append(f"up to {retention.max_bytes:,} bytes per partition")
    seen = f"messages are kept {' and '.join(limits) or 'for ever'}"
    if retention.time_ms is not None and retention.time_ms < _SHORT_RETENTION_S * 1000:
        return warning(
            check,
            topic.name,
            seen,
            "An outage of the destinations that lasts longer loses messages. For three days:\n"
            + alter(server, topic.name, f"retention.ms={3 * _SHORT_RETENTION_S * 1000}"),
        )
    return ok(check, topic.name, seen)


def judge_dead_letter_topic(
    topic: TopicFacts, source: TopicFacts, server: str
) -> Iterator[Finding]:
    """A dead letter topic that exists. It is to keep everything, and to take all there is."""
    yield ok("dead_letters.exists", topic.name, "dead letters go there")
    yield from judge_replicas("dead_letters.replicas", topic, server)
    if topic.settings is None:
        return
    retention = parse_retention(topic.settings)
    lasting = ",".join(_lasting(retention))
    if lasting:
        yield warning(
            "dead_letters.retention",
            topic.name,
            "dead letters expire there, dealt with or not",
            f"Keep them until a person removes them:\n{alter(server, topic.name, lasting)}",
        )
    room, largest = topic.number("max.message.bytes"), source.number("max.message.bytes")
    if room is not None and largest is not None and room < largest + HEADER_ROOM_BYTES:
        yield warning(
            "dead_letters.size",
            topic.name,
            f"takes {room:,} bytes per message, its source {largest:,}",
            "A dead letter that does not fit stops its partition:\n"
            + alter(server, topic.name, f"max.message.bytes={largest + HEADER_ROOM_BYTES}"),
        )
    needed = topic.number("min.insync.replicas") or 1
    short = [each.index for each in topic.partitions if each.in_sync < needed]
    if short:
        yield problem(
            "dead_letters.replicas",
            topic.name,
            f"takes nothing: fewer than min.insync.replicas = {needed} replicas are in sync for "
            f"{partitions(short)}",
            "Start the missing brokers.",
        )


def _lasting(retention: Retention) -> Iterator[str]:
    """The settings that are to be changed, for nothing to expire."""
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
        return ok("topic.clock", topic.name, f"its newest message is {age} old")
    return warning(
        "topic.clock",
        topic.name,
        f"its newest message is {short_duration(ahead_s)} ahead of this machine's clock",
        "Set this machine's clock, or the producer's, by NTP: ages and retention follow it.",
    )


def alter(server: str, topic: str, settings: str) -> str:
    """The command that changes a topic's settings; brackets keep commas in a value together."""
    return (
        f"kafka-configs.sh --bootstrap-server {server} --alter --entity-type topics "
        f"--entity-name {topic} --add-config {settings}"
    )


def partitions(indexes: list[int]) -> str:
    """``partitions 0, 1, 2``, and how many more where they are many."""
    shown = ", ".join(str(index) for index in indexes[:8])
    more = f" and {len(indexes) - 8} more" if len(indexes) > 8 else ""
    return f"partition{'' if len(indexes) == 1 else 's'} {shown}{more}"
