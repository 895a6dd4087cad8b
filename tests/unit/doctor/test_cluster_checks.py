"""``consumer doctor``: findings about the login, the cluster and groups."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from consumer_fleet.bootstrap.options import ClusterOptions
from consumer_fleet.bootstrap.resolve import OptionsRequest
from consumer_fleet.command_options import resolve_cluster
from consumer_fleet.doctor.cluster_checks import (
    Login,
    describe_brokers,
    describe_login,
    judge_lag,
    judge_members,
    judge_positions,
)
from consumer_fleet.doctor.finding import Finding
from consumer_fleet.kafka.groups import Group, Member
from consumer_fleet.kafka.retention import Loss, Retention
from consumer_fleet.status.report import ConsumerStatus, PartitionStatus
from consumer_fleet.targets import Target

SERVER = "kafka:9092"


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def cluster(**kafka: str) -> ClusterOptions:
    settings = {name.replace("_", "."): value for name, value in kafka.items()}
    return resolve_cluster(OptionsRequest({"bootstrap_servers": SERVER, "kafka_config": settings}))


def login(failure: str = "", *errors: KafkaError) -> Login:
    return Login(None, list(errors), failure)  # type: ignore[arg-type]  # not asked


def test_a_refused_password_is_distinguished_from_a_broker_that_does_not_answer() -> None:
    given = cluster(security_protocol="sasl_ssl", sasl_mechanism="PLAIN", sasl_password="hunter2")
    error = KafkaError(KafkaError._AUTHENTICATION, "invalid credentials")
    refused = describe_login(login("timed out", error), given)
    assert refused.status == "problem"
    assert refused.subject == "SASL PLAIN"
    assert refused.seen == "refused: invalid credentials"
    assert "CONSUMER_KAFKA_CONFIG_SASL_PASSWORD" in refused.fix
    silent = describe_login(login("timed out", KafkaError(KafkaError._ALL_BROKERS_DOWN)), given)
    assert silent.status == "problem"
    assert silent.seen == f"no broker answers at {SERVER}: timed out"
    assert "hunter2" not in f"{refused}{silent}"


def test_a_login_that_came_about_in_the_end_is_fine() -> None:
    down = KafkaError(KafkaError._TRANSPORT, "one broker of three is away")
    assert describe_login(login("", down), cluster()).status == "ok"


def test_the_cluster_is_named_with_its_brokers_and_must_have_a_controller() -> None:
    brokers = {1: "a:1", 2: "b:1"}
    client: Any = SimpleNamespace(cluster_id="abc", brokers=brokers, has_controller=True)
    finding = describe_brokers(client)
    assert (finding.status, finding.subject, finding.seen) == ("ok", "cluster abc", "2 brokers")
    client.has_controller = False
    assert describe_brokers(client).status == "problem"


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
    finding = judge_positions(status(rows=rows), "earliest")
    assert finding.status == "ok"
    assert "1 of 2 partitions" in finding.seen


def test_positions_out_of_range_are_one_problem_that_says_what_is_lost_and_the_way_out() -> None:
    rows = (row(0, 4, 10, 20), row(1, 30, 10, 20))
    finding = judge_positions(status(rows=rows), "earliest")
    assert finding.status == "problem"
    assert finding.seen.startswith("OffsetOutOfRange: partitions 0, 1 of events: 6 offsets")
    assert "continue at earliest" in finding.fix
    assert finding.fix.splitlines()[-1] == (
        "consumer offsets reset --group consumer-fleet-events --topic events --to earliest"
    )
    strict = judge_positions(status(rows=rows[:1]), "error")
    assert "will stop here until it is reset" in strict.fix
    assert "6 offsets are lost" in strict.seen


def test_messages_that_retention_is_about_to_take_are_a_problem() -> None:
    retention = Retention(10_000_000, None)
    low = row(0, 5, 0, 9, Loss(999.0, "time"))
    finding = judge_lag(status(rows=(low,), retention=retention))
    assert finding.status == "problem"
    assert "4 messages waiting" in finding.seen
    enough = row(0, 5, 0, 9, Loss(1001.0, "time"))
    assert judge_lag(status(rows=(enough,), retention=retention)).status == "ok"
    assert judge_lag(status(rows=(row(0, None, 0, 9),))).seen == "it has not consumed yet"
