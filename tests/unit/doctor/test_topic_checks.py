"""``consumer doctor``: findings about topics, dead letter topics, and rights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from confluent_kafka import KafkaError

from consumer_fleet.doctor.finding import Finding, Subject
from consumer_fleet.doctor.topic_checks import (
    dead_letter_access,
    group_access,
    group_refused,
    judge_creation,
    judge_dead_letter_topic,
    judge_topic,
    newest_message,
    topic_access,
)
from consumer_fleet.kafka.topic_facts import PartitionFacts, TopicFacts

SERVER = "kafka:9092"
SUBJECT = Subject("events", "events", "consumer-fleet-events", "events-dlq")
WEEK_MS = 7 * 24 * 3600 * 1000
WHOLE = TopicFacts(
    "events",
    partitions=(PartitionFacts(0, True, 3, 3), PartitionFacts(1, True, 3, 3)),
    operations=frozenset({"READ", "DESCRIBE"}),
    settings={
        "retention.ms": str(WEEK_MS),
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
        "max.message.bytes": "1048588",
        "min.insync.replicas": "2",
    },
)
KEPT = replace(
    WHOLE,
    name="events-dlq",
    operations=frozenset({"WRITE"}),
    settings={
        **(WHOLE.settings or {}),
        "retention.ms": "-1",
        "max.message.bytes": str(1048588 + 64 * 1024),
    },
)


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def statuses(findings: Iterable[Finding]) -> dict[str, str]:
    return {each.check: each.status for each in findings}


def with_settings(topic: TopicFacts, **settings: str) -> TopicFacts:
    dotted = {name.replace("_", "."): value for name, value in settings.items()}
    return replace(topic, settings={**(topic.settings or {}), **dotted})


def test_a_topic_that_is_whole_and_kept_long_is_fine() -> None:
    found = list(judge_topic(WHOLE, SUBJECT, SERVER))
    assert [each.status for each in found] == ["ok", "ok"]
    assert "2 partitions: at most 2 processes" in found[0].seen
    assert found[1].seen == "messages are kept for 7.0d"


def test_a_missing_topic_is_a_problem_only_of_a_consumer_that_is_wanted() -> None:
    missing = TopicFacts("events", KafkaError.UNKNOWN_TOPIC_OR_PART, "unknown")
    finding = only(judge_topic(missing, SUBJECT, SERVER))
    assert finding.status == "problem"
    assert finding.fix.endswith(f"--bootstrap-server {SERVER} --create --topic events")
    unwanted = only(judge_topic(missing, replace(SUBJECT, is_wanted=False), SERVER))
    assert unwanted.status == "warning"


def test_a_cluster_that_is_silent_about_a_topic_is_not_taken_for_one_without_it() -> None:
    silent = TopicFacts("events", KafkaError._TIMED_OUT, "timed out")
    assert silent.is_silent
    assert not TopicFacts("events", KafkaError._UNKNOWN_TOPIC, "unknown").is_silent
    finding = only(judge_topic(silent, SUBJECT, SERVER))
    assert (finding.status, finding.seen) == ("problem", "timed out")
    assert "logs" in finding.fix


def test_a_name_that_can_t_be_a_topic_s_is_a_problem() -> None:
    finding = only(judge_topic(TopicFacts("a/b", KafkaError.TOPIC_EXCEPTION, "bad"), SUBJECT, ""))
    assert finding.status == "problem"
    assert "name" in finding.fix


def test_partitions_without_a_leader_are_a_problem_and_late_replicas_a_warning() -> None:
    partitions = (
        PartitionFacts(0, True, 3, 3),
        PartitionFacts(1, True, 3, 2),
        PartitionFacts(2, False, 3, 0),
    )
    found = [
        each
        for each in judge_topic(replace(WHOLE, partitions=partitions), SUBJECT, SERVER)
        if each.check == "topic.replicas"
    ]
    assert [each.status for each in found] == ["problem", "warning"]
    assert "no leader for partition 2" in found[0].seen
    assert "for partitions 1, 2" in found[1].seen


@pytest.mark.parametrize(
    ("settings", "status", "says"),
    [
        ({"retention_ms": str(24 * 3600 * 1000)}, "ok", "for 1.0d"),
        ({"retention_ms": str(24 * 3600 * 1000 - 1)}, "warning", "kept for"),
        ({"retention_ms": "-1"}, "ok", "forever"),
        ({"retention_ms": "-1", "retention_bytes": "1000000"}, "ok", "up to 1,000,000 bytes"),
        ({"cleanup_policy": "compact"}, "warning", "compacts"),
        ({"cleanup_policy": "compact,delete"}, "warning", "compacts"),
    ],
)
def test_retention_that_loses_what_an_outage_delays_is_a_warning(
    settings: dict[str, str], status: str, says: str
) -> None:
    found = {
        each.check: each for each in judge_topic(with_settings(WHOLE, **settings), SUBJECT, "")
    }
    finding = found["topic.retention"]
    assert (finding.status, says in finding.seen) == (status, True), finding
    assert ("kafka-configs.sh" in finding.fix) == (status == "warning")


def test_retention_that_may_not_be_read_is_not_judged() -> None:
    assert "topic.retention" not in statuses(
        judge_topic(replace(WHOLE, settings=None), SUBJECT, "")
    )


def test_a_message_from_the_future_is_a_warning() -> None:
    now_s = 1_700_000_000.0
    assert newest_message(WHOLE, int(now_s * 1000) + 60_000, now_s).status == "ok"
    finding = newest_message(WHOLE, int(now_s * 1000) + 120_000, now_s)
    assert finding.status == "warning"
    assert "2.0m ahead" in finding.seen


# The dead letter topic


def test_a_dead_letter_topic_as_the_start_makes_it_is_fine() -> None:
    assert statuses(judge_dead_letter_topic(KEPT, WHOLE, SERVER)) == {"dead_letters.exists": "ok"}


@pytest.mark.parametrize(
    ("settings", "fixed_by"),
    [
        ({"retention_ms": "1000"}, "--add-config retention.ms=-1"),
        ({"retention_bytes": "1000"}, "--add-config retention.bytes=-1"),
        ({"cleanup_policy": "compact"}, "--add-config cleanup.policy=delete"),
    ],
)
def test_dead_letters_that_expire_are_a_warning_and_the_command_changes_only_that(
    settings: dict[str, str], fixed_by: str
) -> None:
    found = list(judge_dead_letter_topic(with_settings(KEPT, **settings), WHOLE, SERVER))
    assert statuses(found)["dead_letters.retention"] == "warning"
    assert found[-1].fix.endswith(fixed_by)


def test_a_dead_letter_topic_that_accepts_less_than_its_source_is_a_warning() -> None:
    small = with_settings(KEPT, max_message_bytes=str(1048588 + 64 * 1024 - 1))
    found = list(judge_dead_letter_topic(small, WHOLE, SERVER))
    assert statuses(found)["dead_letters.size"] == "warning"
    assert f"max.message.bytes={1048588 + 64 * 1024}" in found[-1].fix


def test_a_dead_letter_topic_without_enough_replicas_refuses_messages() -> None:
    short = replace(KEPT, partitions=(PartitionFacts(0, True, 3, 1),))
    found = [each.status for each in judge_dead_letter_topic(short, WHOLE, SERVER)]
    assert found == ["ok", "warning", "problem"]


# Access


def refusal(code: int, text: str = "refused") -> KafkaError:
    return KafkaError(code, text)


def test_what_is_allowed_is_fine() -> None:
    assert only(topic_access(WHOLE, SERVER)).status == "ok"
    assert only(group_access("g", frozenset({"READ"}), SERVER)).status == "ok"
    assert only(group_access("g", frozenset({"ALL"}), SERVER)).status == "ok"
    assert only(dead_letter_access(KEPT, SERVER)).status == "ok"


def test_a_cluster_that_does_not_say_what_is_allowed_is_not_suspected() -> None:
    finding = only(group_access("g", None, SERVER))
    assert finding.status == "ok"
    assert "does not tell" in finding.seen


def test_a_missing_right_is_a_problem_with_the_command_that_grants_it() -> None:
    unread = replace(WHOLE, operations=frozenset({"DESCRIBE"}))
    hidden = TopicFacts("events", KafkaError.TOPIC_AUTHORIZATION_FAILED, "refused")
    wanted = [
        (only(topic_access(unread, SERVER)), "Read --topic events"),
        (only(topic_access(hidden, SERVER)), "Read --topic events"),
        (only(group_access("g", frozenset({"DESCRIBE"}), SERVER)), "Read --group g"),
        (
            group_refused("g", refusal(KafkaError.GROUP_AUTHORIZATION_FAILED), SERVER),
            "Read --group g",
        ),
        (
            only(dead_letter_access(replace(KEPT, operations=frozenset({"READ"})), SERVER)),
            "Write --topic events-dlq",
        ),
        (
            only(dead_letter_access(replace(hidden, name="events-dlq"), SERVER)),
            "Write --topic events-dlq",
        ),
    ]
    for finding, granted in wanted:
        assert finding.status == "problem"
        assert finding.fix.endswith(f"--add --allow-principal User:NAME --operation {granted}")


def test_settings_that_may_not_be_read_are_a_warning() -> None:
    unread = replace(WHOLE, settings=None, settings_error="refused")
    finding = only(topic_access(unread, SERVER))
    assert finding.status == "warning"
    assert "DescribeConfigs --topic events" in finding.fix


def test_a_coordinator_that_does_not_answer_is_not_a_refusal() -> None:
    assert group_refused("g", refusal(KafkaError._TIMED_OUT), SERVER).status == "warning"


def test_a_missing_dead_letter_topic_is_a_problem_only_where_it_can_t_be_created() -> None:
    assert judge_creation("events-dlq", None, SERVER).status == "ok"
    forbidden = judge_creation("events-dlq", refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED), SERVER)
    assert forbidden.status == "problem"
    assert "this user may not create it" in forbidden.seen
    assert "--create --topic events-dlq" in forbidden.fix
    other = judge_creation("events-dlq", refusal(KafkaError.POLICY_VIOLATION, "too few"), SERVER)
    assert "can't be created: too few" in other.seen
