"""``consumer status`` on real Kafka: its figures agree with Kafka's own tool."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from consumer_fleet.bootstrap.options import ClusterOptions, Options
from consumer_fleet.dlq.topic import DeadLetterTopic, replay_position
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.status.report import Judge
from consumer_fleet.status.sampler import Sampler
from consumer_fleet.targets import Target
from tests.conftest import TopicFactory
from tests.support.consumer_process import run_command
from tests.support.group_members import commit, lag_by_tool, members
from tests.support.kafka_broker import KafkaBroker
from tests.support.processes import wait_until

NOBODY = "127.0.0.1:9"


def new_group() -> str:
    return f"group-{uuid.uuid4().hex[:8]}"


class Status:
    """``consumer status`` of one consumer on a topic and a group of its own."""

    def __init__(self, kafka: KafkaBroker, topic: str, group: str) -> None:
        self.arguments = (
            *("--bootstrap-servers", kafka.bootstrap_servers, "--consumer", "events"),
            *("--set", "topic=events", "--set", f"physical_topic={topic}"),
            *("--set", f"group={group}"),
        )

    def json(self, *arguments: str) -> dict[str, Any]:
        run = run_command("status", *self.arguments, "--json", *arguments)
        assert run.returncode == 0, run.stderr
        document: dict[str, Any] = json.loads(run.stdout)
        return document

    def aged(self, *arguments: str) -> dict[str, Any]:
        """A document with the age of each waiting message: one that takes more than a second to
        read is left out.
        """
        document: dict[str, Any] = {}

        def are_known() -> bool:
            document.update(self.json(*arguments))
            rows = document["consumers"][0]["partitions"]
            return all(row["lag_s"] is not None for row in rows if row["waiting"])

        wait_until(are_known, timeout_s=30, what="the ages")
        return document

    def one(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = self.aged(*arguments)["consumers"][0]
        return found

    def kinds(self, *arguments: str) -> list[str]:
        return [finding["kind"] for finding in self.aged(*arguments)["findings"]]

    def check(self) -> int:
        return run_command("status", *self.arguments, "--check").returncode


def test_the_lag_is_that_of_kafkas_own_tool_partition_by_partition(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    """Classic and KIP-848 groups, active and stopped, never committed, and transactions."""
    classic, stopped, kip848, partly, transactional = groups = [new_group() for _ in range(5)]
    plain, other, in_transactions = topic(3), topic(2), topic(1)
    for index in range(3):
        kafka.produce(plain, [b"x"] * (10 + index), partition=index)
    kafka.produce(other, [b"x"] * 7, partition=1)
    kafka.transaction(in_transactions, 5).commit()
    kafka.transaction(in_transactions, 5).abort()
    still_open = kafka.transaction(in_transactions, 5)
    commit(kafka, stopped, plain, {0: 3, 1: 11, 2: 0})
    commit(kafka, partly, plain, {1: 4})
    commit(kafka, transactional, in_transactions, {0: 2})
    commit(kafka, classic, plain, {0: 1, 1: 2, 2: 3})
    commit(kafka, classic, other, {1: 5})
    commit(kafka, kip848, plain, {0: 9, 2: 12})

    with (
        members(kafka, classic, plain),
        members(kafka, kip848, plain, group_protocol="consumer"),
    ):
        expected = lag_by_tool(kafka, *groups)
        named = [argument for group in groups for argument in ("--group", group)]
        run = run_command(
            "status", "--json", "--bootstrap-servers", kafka.bootstrap_servers, *named
        )
    document = json.loads(run.stdout)
    found = {
        (row["group"], row["topic"], each["partition"]): (
            *(each["committed"], each["end"]),
            each["lag"],
        )
        for row in document["consumers"]
        if row["group"] in groups
        for each in row["partitions"]
    }
    # The tool leaves out the partitions of a group that has neither an offset nor an owner there.
    assert {place: found[place] for place in expected} == expected
    assert all(found[place][0] is None for place in found.keys() - expected.keys())
    assert len(expected) == 3 + 1 + 3 + 3 + 1 + 1
    assert expected[kip848, plain, 1] == (None, 11, None)
    assert expected[transactional, in_transactions, 0][2] == 15, "open and aborted ones count too"
    states = {row["group"]: (row["state"], row["protocol"]) for row in document["consumers"]}
    assert states[classic] == ("stable", "classic")
    assert states[kip848] == ("stable", "consumer")
    assert states[stopped] == ("empty", "classic")
    still_open.abort()


def test_a_group_at_work_is_shown_with_its_members_and_its_rate(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, group = topic(2), new_group()
    kafka.produce(name, [b"x"] * 6, partition=0)
    status = Status(kafka, name, group)
    commit(kafka, group, name, {0: 0, 1: 0})
    with members(kafka, group, name, 3):
        one = status.one()
        assert one["state"] == "stable"
        assert len(one["members"]) == 3
        assert one["idle_members"] == 1, "three members share two partitions"
        assert all(each["host"] == "/127.0.0.1" for each in one["members"])
        assert sorted(index for each in one["members"] for index in each["partitions"]) == [0, 1]
        assert one["rate_per_s"] == 0
        assert one["unowned_partitions"] == []
        table = run_command("status", *status.arguments, "--partitions").stdout
    assert "1 of 3 members idle" in table
    assert all(len(line) <= 80 for line in table.splitlines())


def test_the_rate_is_what_was_consumed_between_two_looks(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, group = topic(1), new_group()
    kafka.produce(name, [b"x"] * 100)
    commit(kafka, group, name, {0: 20})
    cluster = ClusterOptions(Options(), kafka.client_config())
    with Sampler(cluster, [Target(None, group, name)], ()) as sampler:
        started = time.monotonic()
        (before,) = sampler.sample().consumers
        looked = time.monotonic()
        commit(kafka, group, name, {0: 70})
        again = time.monotonic()
        (after,) = sampler.sample().consumers
        ended = time.monotonic()
        commit(kafka, group, name, {0: 10})
        (set_back,) = sampler.sample().consumers
    assert before.rate is None, "one look knows no rate"
    assert after.rate is not None
    assert 50 / (ended - started) <= after.rate <= 50 / (again - looked)
    assert set_back.rate is None, "nobody consumes"
    assert (before.waiting, after.waiting, set_back.waiting) == (80, 30, 90)


def test_the_lag_in_seconds_and_the_time_to_loss_are_those_of_the_oldest_message(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    hour_s = 3600
    name, group = topic(2, {"retention.ms": 10 * hour_s * 1000}), new_group()
    now = time.time()
    kafka.produce(name, [b"old"] * 3, partition=0, timestamp_ms=int((now - 5 * hour_s) * 1000))
    kafka.produce(name, [b"older"], partition=1, timestamp_ms=int((now - 9.5 * hour_s) * 1000))
    commit(kafka, group, name, {0: 0, 1: 0})
    one = Status(kafka, name, group).one()
    assert one["lag"] == 4
    assert one["lag_s"] == pytest.approx(9.5 * hour_s, abs=60)
    assert one["time_to_loss_s"] == pytest.approx(0.5 * hour_s, abs=60)
    assert one["time_to_loss_by"] == "time"
    assert one["retention"]["ms"] == 10 * hour_s * 1000
    ages = [each["lag_s"] for each in one["partitions"]]
    assert ages == [pytest.approx(5 * hour_s, abs=60), pytest.approx(9.5 * hour_s, abs=60)]
    assert Status(kafka, name, group).kinds() == ["at_risk", "stopped"]

    commit(kafka, group, name, {0: 3, 1: 1})
    caught_up = Status(kafka, name, group).one()
    assert (caught_up["lag"], caught_up["lag_s"], caught_up["time_to_loss_s"]) == (0, 0, None)
    assert Status(kafka, name, group).check() == 0


def test_groups_at_different_places_of_a_partition_wait_for_their_own_messages(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, behind, ahead = topic(1), new_group(), new_group()
    now = time.time()
    for hours in (3, 2, 1):
        kafka.produce(name, [b"x"], timestamp_ms=int((now - hours * 3600) * 1000))
    commit(kafka, behind, name, {0: 0})
    commit(kafka, ahead, name, {0: 2})
    cluster = ClusterOptions(Options(), kafka.client_config())
    with Sampler(cluster, [Target(None, behind, name), Target(None, ahead, name)], ()) as sampler:

        def ages() -> list[float | None]:
            """Those of a sample that could read them within a second."""
            found: list[float | None] = []

            def are_known() -> bool:
                report = sampler.sample()
                found[:] = (status.lag_s(report.at_s) for status in report.consumers)
                return None not in found

            wait_until(are_known, timeout_s=30, what="the ages")
            return found

        for _ in range(2):
            assert ages() == [pytest.approx(3 * 3600, abs=60), pytest.approx(3600, abs=60)]
        commit(kafka, behind, name, {0: 1})
        assert ages()[0] == pytest.approx(2 * 3600, abs=60)


def test_a_topic_that_is_deleted_while_it_is_asked_about_does_not_exist(
    kafka: KafkaBroker, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, deleted, group = topic(1), topic(2), new_group()
    kafka.produce(name, [b"x"] * 3)
    commit(kafka, group, name, {0: 1})
    commit(kafka, group, deleted, {0: 0})
    list_topics = Groups.topics

    def topics(self: Groups) -> dict[str, list[int]]:
        found = list_topics(self)
        if deleted in found:
            kafka.delete_topic(deleted)
        return found

    monkeypatch.setattr(Groups, "topics", topics)
    cluster = ClusterOptions(Options(), kafka.client_config())
    targets = [Target(None, group, name), Target(None, group, deleted)]
    with Sampler(cluster, targets, ()) as sampler:
        report = sampler.sample()
    found = [(each.topic_exists, len(each.rows), each.waiting) for each in report.consumers]
    assert found == [(True, 1, 2), (False, 0, None)]
    assert [issue.kind for issue in Judge(300).issues(report)] == []


def test_what_retention_took_before_it_was_consumed_is_counted_and_fails_the_check(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, group = topic(2), new_group()
    kafka.produce(name, [b"x"] * 40, partition=0)
    commit(kafka, group, name, {0: 10, 1: 0})
    status = Status(kafka, name, group)
    assert status.check() == 0
    kafka.delete_records(name, {0: 25})
    one = status.one()
    assert (one["lost"], one["waiting"], one["lag"]) == (15, 15, 30)
    assert one["partitions"][0]["out_of_range"] is True
    assert one["partitions"][1]["out_of_range"] is False
    assert status.check() == 1
    table = run_command("status", *status.arguments).stdout
    assert "LOST" in table
    assert "15 messages deleted before being consumed (partition 0)" in table
    command = f"  consumer offsets reset --group {group} --topic {name} --to earliest"
    assert command in table.splitlines(), "whole, to be copied"


def test_a_partition_that_nobody_reads_while_the_group_is_at_work_is_found(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, other, group = topic(1), topic(1), new_group()
    kafka.produce(name, [b"x"])
    commit(kafka, group, name, {0: 0})
    status = Status(kafka, name, group)
    with members(kafka, group, other):
        assert status.one()["unowned_partitions"] == [0]
        assert "unowned" in status.kinds()


def test_a_group_that_is_at_work_but_does_not_move_is_stalled(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, group = topic(1), new_group()
    kafka.produce(name, [b"x"] * 5, timestamp_ms=int((time.time() - 1000) * 1000))
    commit(kafka, group, name, {0: 1})
    status = Status(kafka, name, group)
    with members(kafka, group, name):
        assert status.kinds() == ["stalled"]
        wait_until(lambda: status.check() == 1, timeout_s=30, what="a check that knows the age")
        assert status.kinds("--set", "stall_timeout_s=5000") == []


def test_missing_topics_unread_topics_and_dead_letters_stand_beside_the_table(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(1)
    dead = kafka.create_topic(f"{name}-dlq")
    kafka.produce(name, [b"x"] * 3)
    kafka.produce(dead, [b"x"] * 2)
    status = Status(kafka, name, new_group())
    document = status.json()
    assert document["unread"] == {name: 3}
    assert document["dead_letters"][dead] == document["dead_letters_held"][dead] == 2
    assert f"{dead}: 2 dead letters waiting: consumer dlq list" in document["notes"]
    assert document["consumers"][0]["state"] == "absent"
    assert document["consumers"][0]["waiting"] is None
    assert status.check() == 0, "a consumer that never ran is no failure"
    missing = Status(kafka, f"{name}-not-there", new_group())
    assert missing.kinds() == ["no_topic"]
    everything = run_command("status", "--bootstrap-servers", kafka.bootstrap_servers)
    assert everything.returncode == 0
    assert "never ran" in run_command("status", *status.arguments).stdout


def test_a_group_that_consumes_nothing_is_not_passed_over_in_silence(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name, group = topic(1), new_group()
    commit(kafka, group, name, {0: 0})
    status = Status(kafka, name, new_group())
    document = status.json("--group", group, "--group", f"{group}x")
    said = [note for note in document["notes"] if note.startswith("Group ")]
    assert said == [
        f"Group '{group}x' does not exist on this cluster: no members, no committed offsets."
    ]


def test_a_message_from_beyond_the_calendar_is_shown_without_its_time(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    """Of a producer that counts in microseconds."""
    name, group = topic(1, {"message.timestamp.after.max.ms": 2**63 - 1}), new_group()
    kafka.produce(name, [b"x"], timestamp_ms=int(time.time() * 1e6))
    commit(kafka, group, name, {0: 0})
    status = Status(kafka, name, group)
    assert status.one("--partitions")["partitions"][0]["oldest"] is None
    assert run_command("status", *status.arguments).returncode == 0
    place = ("--group", group, "--topic", name, "--bootstrap-servers", kafka.bootstrap_servers)
    reset = run_command("offsets", "reset", *place, "--to", "latest")
    assert reset.stdout.splitlines()[2].split() == ["0", "0", "1", "1", "0", "0", "-"]
    document = json.loads(
        run_command("offsets", "reset", *place, "--to", "latest", "--json").stdout
    )
    assert (document["partitions"][0]["lost"], document["partitions"][0]["first"]) == (1, None)
    assert run_command("offsets", "show", *place).returncode == 0


def test_dead_letters_that_were_replayed_do_not_wait(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    name = topic(1)
    dead = kafka.create_topic(f"{name}-dlq", 2)
    kafka.produce(dead, [b"x"] * 5, partition=0)
    kafka.produce(dead, [b"x"] * 4, partition=1)
    status = Status(kafka, name, new_group())
    place = DeadLetterTopic(dead, None)
    commit(kafka, place.group, dead, {0: 3})
    kafka.delete_records(dead, {1: 1})
    document = status.json()
    assert (document["dead_letters"][dead], document["dead_letters_held"][dead]) == (5, 8)
    assert document["dead_letters"][dead] == replay_position(kafka.client_config(), place).waiting
    assert f"{dead}: 5 dead letters waiting (of 8): consumer dlq list" in document["notes"]
    commit(kafka, place.group, dead, {0: 5, 1: 4})
    document = status.json()
    assert (document["dead_letters"][dead], document["dead_letters_held"][dead]) == (0, 8)
    assert not any(dead in note for note in document["notes"])


def test_groups_of_this_program_are_found_under_any_name_and_no_others(
    own_kafka: KafkaBroker,
) -> None:
    name = own_kafka.create_topic("t")
    stopped, active, foreign = new_group(), new_group(), new_group()
    own_kafka.produce(name, [b"x"] * 9)
    strange = own_kafka.create_topic(f"payments-{uuid.uuid4().hex[:8]}-dlq", 1)
    own_kafka.produce(strange, [b"x"])
    words = "held=7:1 why=failing%20upstream%20HTTP%20500%3A%20boom topic-id=abc"
    commit(own_kafka, stopped, name, {0: 3}, words)
    commit(own_kafka, foreign, name, {0: 2})
    with (
        members(own_kafka, active, name, client_id="consumer-fleet"),
        members(own_kafka, foreign, name),
    ):
        document = Status(own_kafka, name, new_group()).json()
        unnamed = run_command(
            "status", "--json", "--bootstrap-servers", own_kafka.bootstrap_servers
        )
    found = {row["group"]: row for row in document["consumers"]}
    assert found.keys() == {stopped, active}, "and no row of a consumer that never ran there"
    (cause,) = found[stopped]["causes"]
    assert (cause["partition"], cause["offset"]) == (0, 3)
    assert (cause["destination"], cause["answer"]) == ("upstream", "HTTP 500: boom")
    assert found[active]["state"] == "stable"
    assert strange not in document["dead_letters"]
    everywhere = {row["group"] for row in json.loads(unnamed.stdout)["consumers"]}
    assert active in everywhere, "on a topic that no consumer is configured for"
    assert foreign not in everywhere


def test_an_absent_broker_is_said_within_seconds(tmp_path: Path) -> None:
    started = time.monotonic()
    run = run_command("status", "--bootstrap-servers", NOBODY, cwd=tmp_path)
    assert run.returncode == 69
    assert f"no Kafka broker answers at {NOBODY}" in run.stderr
    assert "Traceback" not in run.stderr
    assert time.monotonic() - started < 30
