"""``consumer doctor``: what is concluded from what Kafka says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from confluent_kafka import KafkaError

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.command_options import Connection
from consumer_fleet.doctor.cluster_checks import (
    dead_letter_access,
    group_access,
    group_refused,
    judge_cluster,
    judge_creation,
    judge_login,
    topic_access,
)
from consumer_fleet.doctor.cluster_facts import Login
from consumer_fleet.doctor.finding import Finding, Subject
from consumer_fleet.doctor.server_checks import ServerAnswers, judge_server, split_server
from consumer_fleet.doctor.topic_checks import (
    judge_dead_letter_topic,
    judge_lag,
    judge_members,
    judge_positions,
    judge_topic,
    newest_message,
)
from consumer_fleet.kafka.cluster import ClusterFacts, PartitionFacts, TopicFacts
from consumer_fleet.kafka.groups import Group, Member
from consumer_fleet.kafka.retention import Loss, Retention
from consumer_fleet.status.report import ConsumerStatus, PartitionStatus
from consumer_fleet.targets import Target

SERVER = "kafka:9092"
SASL_TLS = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
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


# Servers


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("kafka:9092", ("kafka", 9092)),
        ("[::1]:9092", ("::1", 9092)),
        ("SASL_SSL://kafka:9093", ("kafka", 9093)),
        (" kafka", ("kafka", 9092)),
    ],
)
def test_a_server_is_split_as_librdkafka_writes_it(server: str, parts: tuple[str, int]) -> None:
    assert split_server(server) == parts


@pytest.mark.parametrize(
    ("failed", "says", "mended_by"),
    [
        ("name", "the name does not resolve", "bootstrap_servers"),
        ("connection", "no connection", "firewalls"),
        ("TLS", "TLS fails", "PLAINTEXT"),
        ("certificate", "not trusted", "ssl.ca.location"),
        ("answer", "does not answer", "overloaded"),
        ("protocol", "does not speak Kafka", "client certificate"),
    ],
)
def test_each_step_that_fails_is_named_with_its_own_fix(
    failed: str, says: str, mended_by: str
) -> None:
    answers = ServerAnswers(SERVER, failed, "because")  # type: ignore[arg-type]  # parametrized text
    finding = only(judge_server(answers, SASL_TLS))
    assert finding.status == "problem"
    assert says in finding.seen
    assert finding.seen.endswith(": because")
    assert mended_by in finding.fix


def test_a_server_that_answers_otherwise_may_speak_tls() -> None:
    finding = only(judge_server(ServerAnswers(SERVER, "protocol", "?"), {}))
    assert "security.protocol in kafka_config to SSL" in finding.fix


def test_a_server_that_answers_is_fine_and_says_how() -> None:
    answers = ServerAnswers(
        SERVER, took_s=0.0123, apis=frozenset({18, 68}), mechanisms=("PLAIN", "SCRAM-SHA-512")
    )
    finding = only(judge_server(answers, SASL_TLS))
    assert finding.status == "ok"
    assert finding.seen == "answers in 12 ms, TLS, SASL SCRAM-SHA-512, KIP-848 groups: yes"


@pytest.mark.parametrize(
    ("mechanisms", "kafka", "says", "mended_by"),
    [
        (("PLAIN",), {}, "it wants a SASL login (PLAIN)", "SASL_PLAINTEXT"),
        (("PLAIN",), {"security.protocol": "ssl"}, "it wants a SASL login", "SASL_SSL"),
        (("PLAIN",), SASL_TLS, "does not offer the SASL mechanism SCRAM-SHA-512", "PLAIN"),
        (None, SASL_TLS, "knows no SASL login", "security.protocol in kafka_config to SSL"),
    ],
)
def test_a_login_that_can_t_work_is_told_before_it_is_tried(
    mechanisms: tuple[str, ...] | None, kafka: dict[str, str], says: str, mended_by: str
) -> None:
    answers = ServerAnswers(SERVER, apis=frozenset({18}), mechanisms=mechanisms)
    finding = only(judge_server(answers, kafka))
    assert finding.status == "problem"
    assert says in finding.seen
    assert mended_by in finding.fix


def test_the_new_group_protocol_on_a_broker_without_it_is_a_problem() -> None:
    answers = ServerAnswers(SERVER, apis=frozenset({18}))
    kafka = {"group.protocol": "consumer"}
    assert [each.status for each in judge_server(answers, kafka)] == ["ok", "problem"]
    new = ServerAnswers(SERVER, apis=frozenset({18, 68}))
    assert [each.status for each in judge_server(new, kafka)] == ["ok"]
    assert [each.status for each in judge_server(answers, {})] == ["ok"]


# The login and the cluster


def cluster(**kafka: str) -> ClusterOptions:
    settings = {name.replace("_", "."): value for name, value in kafka.items()}
    return Connection({"bootstrap_servers": SERVER, "kafka_config": settings}).resolve()


def login(failure: str = "", *errors: KafkaError) -> Login:
    return Login(admin=None, errors=list(errors), failure=failure)  # type: ignore[arg-type]  # not asked


def test_a_refused_password_is_told_apart_from_a_broker_that_does_not_answer() -> None:
    given = cluster(security_protocol="sasl_ssl", sasl_mechanism="PLAIN", sasl_password="hunter2")
    error = KafkaError(KafkaError._AUTHENTICATION, "invalid credentials")
    refused = judge_login(login("timed out", error), given)
    assert refused.status == "problem"
    assert refused.subject == "SASL PLAIN"
    assert refused.seen == "refused: invalid credentials"
    assert "CONSUMER_KAFKA_CONFIG_SASL_PASSWORD" in refused.fix
    silent = judge_login(login("timed out", KafkaError(KafkaError._ALL_BROKERS_DOWN)), given)
    assert silent.status == "problem"
    assert silent.seen == f"no broker answers at {SERVER}: timed out"
    assert "hunter2" not in f"{refused}{silent}"


def test_a_login_that_came_about_in_the_end_is_fine() -> None:
    down = KafkaError(KafkaError._TRANSPORT, "one broker of three is away")
    assert judge_login(login("", down), cluster()).status == "ok"


def test_the_cluster_is_named_with_its_brokers() -> None:
    finding = judge_cluster(ClusterFacts("abc", {1: "a:1", 2: "b:1"}))
    assert (finding.subject, finding.seen) == ("cluster abc", "2 brokers")


# Topics


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
        ({"retention_ms": "-1"}, "ok", "for ever"),
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
    ("settings", "mended_by"),
    [
        ({"retention_ms": "1000"}, "--add-config retention.ms=-1"),
        ({"retention_bytes": "1000"}, "--add-config retention.bytes=-1"),
        ({"cleanup_policy": "compact"}, "--add-config cleanup.policy=delete"),
    ],
)
def test_dead_letters_that_expire_are_a_warning_and_the_command_changes_only_that(
    settings: dict[str, str], mended_by: str
) -> None:
    found = list(judge_dead_letter_topic(with_settings(KEPT, **settings), WHOLE, SERVER))
    assert statuses(found)["dead_letters.retention"] == "warning"
    assert found[-1].fix.endswith(mended_by)


def test_a_dead_letter_topic_that_takes_less_than_its_source_is_a_warning() -> None:
    small = with_settings(KEPT, max_message_bytes=str(1048588 + 64 * 1024 - 1))
    found = list(judge_dead_letter_topic(small, WHOLE, SERVER))
    assert statuses(found)["dead_letters.size"] == "warning"
    assert f"max.message.bytes={1048588 + 64 * 1024}" in found[-1].fix


def test_a_dead_letter_topic_without_enough_replicas_takes_nothing() -> None:
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
    assert "does not say" in finding.seen


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


def test_a_coordinator_that_does_not_answer_is_no_refusal() -> None:
    assert group_refused("g", refusal(KafkaError._TIMED_OUT), SERVER).status == "warning"


def test_a_missing_dead_letter_topic_is_a_problem_only_where_it_can_t_be_made() -> None:
    assert judge_creation("events-dlq", None, SERVER).status == "ok"
    forbidden = judge_creation("events-dlq", refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED), SERVER)
    assert forbidden.status == "problem"
    assert "may not be made by this user" in forbidden.seen
    assert "--create --topic events-dlq" in forbidden.fix
    other = judge_creation("events-dlq", refusal(KafkaError.POLICY_VIOLATION, "too few"), SERVER)
    assert "can't be made: too few" in other.seen


# Groups

OURS = Member("m1", "consumer-fleet", "/10.0.0.1", None, frozenset({("events", 0)}))
KAFKA = {"client.id": "consumer-fleet"}


def status(
    *members: Member,
    rows: tuple[PartitionStatus, ...] = (),
    retention: Retention | None = None,
) -> ConsumerStatus:
    target = Target("events", "consumer-fleet-events", "events")
    group = Group(target.group, "stable" if members else "empty", "classic", members)
    return ConsumerStatus(target, group, 2, rows, retention)


def row(
    index: int, committed: int | None, start: int, end: int, loss: Loss | None = None
) -> PartitionStatus:
    return PartitionStatus(index, start, end, committed, None, loss=loss)


def test_members_of_this_program_are_fine() -> None:
    assert only(judge_members(status(OURS), KAFKA)).seen == "1 member, all of this program"
    assert only(judge_members(status(), KAFKA)).status == "ok"


@pytest.mark.parametrize(
    "foreign",
    [
        replace(OURS, client_id="rdkafka"),
        replace(OURS, assigned=frozenset({("events", 0), ("orders", 0)})),
    ],
    ids=["client", "topic"],
)
def test_a_member_of_another_program_is_a_problem(foreign: Member) -> None:
    finding = only(judge_members(status(OURS, foreign), KAFKA))
    assert finding.status == "problem"
    assert f"{foreign.client_id} on 10.0.0.1" in finding.seen


def test_members_without_a_partition_are_a_warning() -> None:
    idle = replace(OURS, member_id="m2", assigned=frozenset())
    found = list(judge_members(status(OURS, idle), KAFKA))
    assert [each.status for each in found] == ["ok", "warning"]
    assert "1 of 2 members have no partition: the topic has 2" in found[1].seen


def test_a_position_in_range_is_fine() -> None:
    rows = (row(0, 5, 5, 9), row(1, None, 3, 9))
    finding = only(judge_positions(status(rows=rows), "earliest"))
    assert finding.status == "ok"
    assert "1 of 2 partitions" in finding.seen


def test_positions_out_of_range_are_one_problem_that_says_what_is_lost_and_the_way_out() -> None:
    rows = (row(0, 4, 10, 20), row(1, 30, 10, 20))
    finding = only(judge_positions(status(rows=rows), "earliest"))
    assert finding.status == "problem"
    assert finding.seen.startswith("OffsetOutOfRange: partitions 0, 1 of events: 6 offsets")
    assert "go on at earliest by itself" in finding.fix
    assert finding.fix.splitlines()[-1] == (
        "consumer offsets reset --group consumer-fleet-events --topic events --to earliest"
    )
    (strict,) = judge_positions(status(rows=rows[:1]), "error")
    assert "will stop here until it is reset" in strict.fix
    assert "6 offsets are lost" in strict.seen


def test_messages_that_retention_is_about_to_take_are_a_problem() -> None:
    retention = Retention(10_000_000, None)
    low = row(0, 5, 0, 9, Loss(999.0, "time"))
    finding = judge_lag(status(rows=(low,), retention=retention))
    assert finding.status == "problem"
    assert "4 messages wait" in finding.seen
    enough = row(0, 5, 0, 9, Loss(1001.0, "time"))
    assert judge_lag(status(rows=(enough,), retention=retention)).status == "ok"
    assert judge_lag(status(rows=(row(0, None, 0, 9),))).seen == "it has not consumed yet"
