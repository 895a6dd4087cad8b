"""Are the topics there, whole, and set up to keep what is not consumed yet?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import KafkaError

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.doctor.finding import Finding, Subject, ok, problem, warning
from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.humanize import short_duration
from consumer_fleet.kafka.cluster import HEADER_ROOM_BYTES, TopicFacts
from consumer_fleet.kafka.groups import Member, OutOfRange, reset_command
from consumer_fleet.kafka.retention import Retention, parse_retention
from consumer_fleet.status.report import ConsumerStatus, PartitionStatus
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.targets import Target

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


def examine_group(cluster: ClusterOptions, subject: Subject) -> Iterator[Finding]:
    """All findings about one group on its topic. Blocks for seconds; joins nothing."""
    target = Target(subject.name, subject.group, subject.topic)
    try:
        with Sampler(cluster, [target], ()) as sampler:
            (status,) = sampler.look().consumers
    except (ConfigurationError, KafkaUnreachable) as error:
        yield warning(
            "group.position",
            subject.group,
            f"not checked: {error}",
            "See what is said of the access to it, and of the servers.",
        )
        return
    if not status.topic_exists:
        return
    yield from judge_members(status, cluster.kafka)
    yield from judge_positions(status, cluster.options.auto_offset_reset)
    yield judge_lag(status)


def judge_members(status: ConsumerStatus, kafka: Mapping[str, Any]) -> Iterator[Finding]:
    """Members that are not this program's, and members that are too many."""
    group, topic = status.target.group, status.target.topic
    members = status.group.members
    foreign = [each for each in members if _is_foreign(each, topic, str(kafka["client.id"]))]
    if foreign:
        named = ", ".join(str(member) for member in foreign[:3])
        yield problem(
            "group.members",
            group,
            f"somebody else is in it: {named}",
            "They take partitions away and move the offsets, so messages are skipped. Give this "
            "consumer a group of its own (group), or stop them.",
        )
    elif not members:
        yield ok("group.members", group, "nobody is in it now")
    else:
        plural = "" if len(members) == 1 else "s"
        yield ok("group.members", group, f"{len(members)} member{plural}, all of this program")
    if status.idle_members and status.group.state == "stable":
        yield warning(
            "group.members",
            group,
            f"{status.idle_members} of {len(members)} members have no partition: the topic has "
            f"{status.partitions}",
            "Run fewer processes, or give the topic more partitions.",
        )


def _is_foreign(member: Member, topic: str, client_id: str) -> bool:
    other_topics = {name for name, _ in member.assigned} - {topic}
    return member.client_id != client_id or bool(other_topics)


def judge_positions(status: ConsumerStatus, policy: str) -> Iterator[Finding]:
    """Committed offsets that the broker no longer has, or has not yet."""
    group, topic = status.target.group, status.target.topic
    bad = [row for row in status.rows if row.lost or row.past_end]
    if bad:
        positions = [_position(group, topic, row) for row in bad]
        seen = str(positions[0])
        if len(bad) > 1:
            lost = sum(position.lost for position in positions)
            where = partitions([row.index for row in bad])
            seen = f"{where} of {topic}: {lost:,} offsets are lost; {seen}"
        yield problem(
            "group.position",
            group,
            f"OffsetOutOfRange: {seen}",
            f"{_consequence(policy)} To see what a reset would do (--execute does it):\n"
            f"{reset_command(group, topic)}",
        )
    if not bad:
        known = sum(row.committed is not None for row in status.rows)
        seen = (
            f"{known} of {status.partitions} partitions have a committed offset, all in range"
            if known
            else f"no committed offset yet: it starts at {policy}"
        )
        yield ok("group.position", group, seen)


def _position(group: str, topic: str, row: PartitionStatus) -> OutOfRange:
    assert row.committed is not None  # it is out of range
    return OutOfRange(group, topic, row.index, row.committed, row.start, row.end)


def _consequence(policy: str) -> str:
    if policy == "error":
        return "auto_offset_reset is error: the consumer will stop here until it is reset."
    return f"The consumer will go on at {policy} by itself (auto_offset_reset)."


def judge_lag(status: ConsumerStatus) -> Finding:
    """What waits, and when retention takes it."""
    group = status.target.group
    waiting, loss, retention = status.waiting, status.loss, status.retention
    if waiting is None:
        return ok("group.lag", group, "it has not consumed yet")
    seen = f"{waiting:,} message{'' if waiting == 1 else 's'} wait"
    if loss is None or retention is None:
        return ok("group.lag", group, seen)
    seen += f"; retention may delete the oldest in {short_duration(loss.seconds)}"
    if loss.seconds < retention.low_s:
        return problem(
            "group.lag",
            group,
            seen,
            "Keep them longer now (retention.ms of the topic), then run more workers or "
            "processes, or see why the destinations are slow.",
        )
    return ok("group.lag", group, seen)
