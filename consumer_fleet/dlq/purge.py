"""``consumer dlq purge``: delete dead letters, from the oldest up to an offset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.command_options import user_name
from consumer_fleet.dlq.letters import DeadLetterCounts, LettersTopic
from consumer_fleet.dlq.topic import DeadLetterTopic, ReplayPosition, replay_position
from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.humanize import counted
from consumer_fleet.kafka.clients import NO_ACCESS
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.kafka.offset_spec import OffsetSpec

log = structlog.get_logger(__name__)

_REQUEST_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """``before``: the first position that stays."""

    before: OffsetSpec
    yes: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """The dead letters to delete. ``before``: partition → the first offset that stays."""

    counts: DeadLetterCounts
    before: Mapping[int, int]
    never_replayed: int


def purge(request: PurgeRequest, topic: DeadLetterTopic, cluster: ClusterOptions) -> None:
    """Print the plan, and carry it out if that is confirmed. Blocks on the broker."""
    plan = _plan(cluster.kafka, topic, request.before)
    if not request.as_json:
        _describe(plan, topic)
    executed = request.yes and plan.counts.total > 0
    if executed:
        _delete(cluster.kafka, topic, plan)
    if request.as_json:
        document = {
            "topic": topic.name,
            "dead_letters": plan.counts.total,
            "reasons": plan.counts.as_document(),
            "before": {str(index): end for index, end in sorted(plan.before.items())},
            "group": topic.group,
            "never_replayed": plan.never_replayed,
            "executed": executed,
        }
        click.echo(json.dumps(document))
    elif executed:
        click.echo(f"Deleted {plan.counts.total:,}.")
    elif plan.counts.total:
        click.echo("Nothing is deleted yet: add --yes to delete.")


def _plan(kafka: Mapping[str, Any], topic: DeadLetterTopic, before: OffsetSpec) -> PurgePlan:
    """Read what would be deleted. Raises GroupIsActive while a replay runs, and ConfigurationError
    for a topic that has messages other than dead letters.
    """
    now = replay_position(kafka, topic)
    now.refuse_concurrent_replay()
    counts, never_replayed = DeadLetterCounts(), 0
    with LettersTopic(kafka, topic.name, end=before) as letters:
        ends = {index: span.end for index, span in letters.reader.ranges.items() if span.size}
        for letter in letters.letters():
            counts.add(letter)
            never_replayed += letter.record.offset >= now.replayed.get(letter.partition, 0)
    if counts.other_messages:
        others = counted(counts.other_messages, "message")
        raise ConfigurationError(
            f"{topic.name!r} has {others} without dead-letter headers: is it the right topic? "
            "Nothing was deleted; Kafka's own kafka-delete-records.sh deletes without this check"
        )
    return PurgePlan(counts, ends, never_replayed)


def _describe(plan: PurgePlan, topic: DeadLetterTopic) -> None:
    if not plan.counts.total:
        click.echo(f"Nothing to purge in {topic.name}.")
        return
    click.echo(f"{plan.counts.described} of {topic.name}: {plan.counts}")
    for index, end in sorted(plan.before.items()):
        click.echo(f"  partition {index}: all before offset {end:,}")
    if plan.never_replayed:
        click.echo(
            f"{plan.never_replayed:,} never replayed, by the offsets of group {topic.group}.\n"
            f"  export them first:  consumer dlq export --dlq-topic {topic.name} -o FILE"
        )


def _delete(kafka: Mapping[str, Any], topic: DeadLetterTopic, plan: PurgePlan) -> None:
    """Raises ConfigurationError if Kafka does not allow it."""
    with Groups(kafka) as groups:
        targets = [TopicPartition(topic.name, index, end) for index, end in plan.before.items()]
        answers = groups.admin.delete_records(targets, request_timeout=_REQUEST_TIMEOUT_S)
        for target, answer in answers.items():
            try:
                answer.result(2 * _REQUEST_TIMEOUT_S)
            except KafkaException as error:
                raise _translated(error.args[0], target) from error
        log.warning(
            "dead_letters_purged",
            user=user_name(),
            topic=topic.name,
            before={str(index): end for index, end in plan.before.items()},
            messages=plan.counts.total,
            reasons=plan.counts.as_document(),
            never_replayed=plan.never_replayed,
        )
        _move_group(groups, topic, plan, replay_position(kafka, topic))


def _move_group(
    groups: Groups, topic: DeadLetterTopic, plan: PurgePlan, now: ReplayPosition
) -> None:
    """A group left behind at a deleted offset would look as if it had lost something."""
    behind = {
        (topic.name, index): end
        for index, end in plan.before.items()
        if now.replayed.get(index, end) < end
    }
    if behind:
        groups.commit(topic.group, behind)


def _translated(error: KafkaError, target: TopicPartition) -> ConfigurationError | KafkaUnreachable:
    where = f"{target.topic}/{target.partition}"
    if error.code() in NO_ACCESS:
        return ConfigurationError(f"Kafka refuses to purge {where}: {error.str()}")
    if error.code() == KafkaError.POLICY_VIOLATION:
        return ConfigurationError(
            f"{where} can't be purged: its cleanup.policy is not 'delete' ({error.str()})"
        )
    return KafkaUnreachable(f"{where} was not purged: {error.str()}")
