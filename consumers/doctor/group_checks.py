"""Who is in the group, where does it stand, and how long until it loses messages?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consumers.commands.cluster_options import ClusterOptions
from consumers.doctor.finding import Finding, ok, problem, warning
from consumers.doctor.subjects import Subject
from consumers.doctor.topic_checks import partitions
from consumers.figures import short_duration
from consumers.status.report import ConsumerStatus, PartitionStatus
from consumers.status.sampler import Sampler
from consumers.targets import Target
from fleet.errors import ConfigurationError, KafkaUnreachable
from fleet.kafka.groups import Member
from fleet.kafka.out_of_range import OutOfRange, reset_command


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
