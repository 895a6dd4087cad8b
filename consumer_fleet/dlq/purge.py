"""Dead letters deleted for good, up to an offset: Kafka can delete nothing else of a topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer_fleet.command_options import user_name
from consumer_fleet.dlq.letters import DeadLetterTopic, LettersTopic
from consumer_fleet.dlq.replay_position import Standing, Tally, standing
from consumer_fleet.errors import ConfigurationError, KafkaUnreachable
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.kafka.offset_spec import OffsetSpec

log = structlog.get_logger(__name__)

_REQUEST_TIMEOUT_S = 15.0
_NO_ACCESS = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What would go. ``before``: partition → the first offset that stays."""

    tally: Tally
    before: Mapping[int, int]
    never_replayed: int


def plan_purge(kafka: Mapping[str, Any], place: DeadLetterTopic, before: OffsetSpec) -> PurgePlan:
    """Read what would go. Raises GroupIsActive while a replay runs, and ConfigurationError for a
    topic that holds other messages than dead letters.
    """
    now = standing(kafka, place)
    now.refuse_a_second()
    tally, never_replayed = Tally(), 0
    with LettersTopic(kafka, place.name, end=before) as topic:
        ends = {index: span.end for index, span in topic.reader.ranges.items() if span.size}
        for letter in topic.letters():
            tally.add(letter)
            never_replayed += letter.record.offset >= now.replayed.get(letter.partition, 0)
    if tally.strangers:
        raise ConfigurationError(
            f"{tally.strangers:,} messages of {place.name!r} are no dead letters: is it the right "
            "topic? Nothing was deleted; Kafka's own kafka-delete-records.sh asks nothing"
        )
    return PurgePlan(tally, ends, never_replayed)


def purge(kafka: Mapping[str, Any], place: DeadLetterTopic, plan: PurgePlan) -> None:
    """Delete it. Raises ConfigurationError where that is not allowed. Blocks on the broker."""
    with Groups(kafka) as groups:
        targets = [TopicPartition(place.name, index, end) for index, end in plan.before.items()]
        answers = groups.admin.delete_records(targets, request_timeout=_REQUEST_TIMEOUT_S)
        for target, answer in answers.items():
            try:
                answer.result(2 * _REQUEST_TIMEOUT_S)
            except KafkaException as error:
                raise _translated(error.args[0], target) from error
        log.warning(
            "dead_letters_purged",
            user=user_name(),
            topic=place.name,
            before={str(index): end for index, end in plan.before.items()},
            messages=plan.tally.total,
            reasons=plan.tally.as_document(),
            never_replayed=plan.never_replayed,
        )
        _move_group(groups, place, plan, standing(kafka, place))


def _move_group(groups: Groups, place: DeadLetterTopic, plan: PurgePlan, now: Standing) -> None:
    """A group left behind at a deleted place would look as if it had lost something."""
    behind = {
        (place.name, index): end
        for index, end in plan.before.items()
        if now.replayed.get(index, end) < end
    }
    if behind:
        groups.commit(place.group, behind)


def _translated(error: KafkaError, target: TopicPartition) -> ConfigurationError | KafkaUnreachable:
    where = f"{target.topic}/{target.partition}"
    if error.code() in _NO_ACCESS:
        return ConfigurationError(f"Kafka refuses to purge {where}: {error.str()}")
    if error.code() == KafkaError.POLICY_VIOLATION:
        return ConfigurationError(
            f"{where} can't be purged: its cleanup.policy is not 'delete' ({error.str()})"
        )
    return KafkaUnreachable(f"{where} was not purged: {error.str()}")
