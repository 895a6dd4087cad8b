"""``consumer offsets`` on real Kafka: a reset loses exactly what its plan says."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from consumer_fleet.cli import main
from consumer_fleet.errors import GroupIsActive
from consumer_fleet.kafka.groups import Groups
from consumer_fleet.kafka.offset_spec import EARLIEST, LATEST
from consumer_fleet.kafka.reader import Range
from consumer_fleet.offsets import plan
from consumer_fleet.offsets.plan import MessageCount, Move, count_messages, execute, plan_reset
from consumer_fleet.offsets.table import print_table, reset_table
from consumer_fleet.status import sampler
from consumer_fleet.targets import Target
from tests.conftest import TopicFactory
from tests.support.consumer_process import ConsumerProcess, call_command, run_command
from tests.support.group_members import commit, members
from tests.support.kafka_broker import KafkaBroker
from tests.support.requirements import MissingPart, require
from tests.support.scripted_receiver import ScriptedReceiver
from tests.support.secured_kafka_broker import SecuredKafkaBroker


class Reset:
    """``consumer offsets`` for a group of its own on one topic."""

    def __init__(self, kafka: KafkaBroker, topic: str, group: str | None = None) -> None:
        self.kafka = kafka
        self.topic = topic
        self.group = group or f"group-{uuid.uuid4().hex[:8]}"
        self.brokers = ("--bootstrap-servers", kafka.bootstrap_servers)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        place = ("--group", self.group, "--topic", self.topic)
        return run_command("offsets", "reset", *place, *self.brokers, *arguments)

    def json(self, *arguments: str) -> dict[str, Any]:
        run = self.run("--json", *arguments)
        assert run.returncode == 0, run.stderr
        document: dict[str, Any] = json.loads(run.stdout)
        return document

    def show(self) -> tuple[Any, ...]:
        """The facts that ``offsets show`` has of the topic's one partition."""
        place = ("--group", self.group, "--topic", self.topic)
        run = run_command("offsets", "show", *place, *self.brokers, "--json")
        assert run.returncode == 0, run.stderr
        (row,) = json.loads(run.stdout)["partitions"]
        return tuple(row[key] for key in ("committed", "start", "end", "lost", "out_of_range"))

    def committed(self) -> dict[int, int]:
        return self.kafka.committed(self.group, self.topic)

    def commit(self, offsets: dict[int, int]) -> None:
        commit(self.kafka, self.group, self.topic, offsets)


def envelope(number: int) -> bytes:
    event_id = f"{number:032x}"
    return (
        f'{{"event_id":"{event_id}"}}\n{{"type":"event"}}\n{{"event_id":"{event_id}"}}\n'.encode()
    )


def delivered(upstream: ScriptedReceiver) -> set[int]:
    headers = [json.loads(envelope.header) for envelope in upstream.envelopes]
    return {int(header["event_id"], 16) for header in headers}


def test_a_consumer_whose_offset_is_gone_says_what_to_do_and_that_gets_it_going_again(
    kafka: KafkaBroker, topic: TopicFactory, upstream: ScriptedReceiver, tmp_path: Path
) -> None:
    """OffsetOutOfRange from beginning to end: each number is compared with the truth."""
    reset = Reset(kafka, topic(1))

    def run(*arguments: str) -> ConsumerProcess:
        return ConsumerProcess(
            tmp_path,
            *("--topic", "envelopes", "--physical-topic", reset.topic, "--group", reset.group),
            *("--upstream-dsn", upstream.dsn(), *reset.brokers, "--workers", "1"),
            *("--auto-offset-reset", "error", "--stop-at-end", *arguments),
        )

    reset.kafka.produce(reset.topic, map(envelope, range(40)))
    with run("--auto-offset-reset", "earliest") as first:
        assert first.wait() == 0
    assert reset.committed() == {0: 40}
    kafka.produce(reset.topic, map(envelope, range(40, 100)))
    kafka.delete_records(reset.topic, {0: 65})

    with run() as refused:
        assert refused.wait() == 78
    command = f"consumer offsets reset --group {reset.group} --topic {reset.topic} --to earliest"
    message = refused.output().splitlines()[-1]
    assert f"{reset.topic}/0 is at offset 40, the broker stores 65 to 100" in refused.output()
    assert command in refused.output(), message
    assert reset.show() == (40, 65, 100, 25, True)

    plan = run_command(*command.split()[1:], *reset.brokers)
    assert plan.returncode == 0, plan.stderr
    assert "0 messages lost, 0 messages repeated; 25 offsets deleted by" in plan.stdout
    assert reset.committed() == {0: 40}, "a dry run moves nothing"
    document = reset.json("--to", "earliest")
    assert document["partitions"][0]["gone"] == document["gone"] == 25
    assert (document["lost"], document["repeated"], document["executed"]) == (0, 0, False)

    latest = reset.json("--to", "latest")
    assert (latest["lost"], latest["gone"]) == (35, 25), "what is left would be lost, too"

    done = run_command(*command.split()[1:], *reset.brokers, "--execute")
    assert done.returncode == 0, done.stderr
    assert reset.committed() == {0: 65}
    assert reset.show() == (65, 65, 100, 0, False)
    with run() as again:
        assert again.wait() == 0
    assert reset.committed() == {0: 100}
    assert delivered(upstream) == {*range(40), *range(65, 100)}


def test_each_move_is_counted_and_executed_exactly(kafka: KafkaBroker, topic: TopicFactory) -> None:
    reset = Reset(kafka, topic(2, {"retention.ms": -1}))
    start_ms = 1_700_000_000_000
    for index in range(2):
        for number in range(30):
            kafka.produce(
                reset.topic, [b"x"], partition=index, timestamp_ms=start_ms + number * 60_000
            )
    reset.commit({0: 10, 1: 20})

    latest = reset.json("--to", "latest")
    assert [(row["from"], row["to"], row["lost"]) for row in latest["partitions"]] == [
        (10, 30, 20),
        (20, 30, 10),
    ]
    assert (latest["lost"], latest["repeated"], latest["exact"]) == (30, 0, True)
    assert latest["partitions"][0]["first"] == "2023-11-14T22:23:20.000+00:00"
    assert latest["partitions"][0]["last"] == "2023-11-14T22:42:20.000+00:00"

    # 22:28:20 is the fifteenth message's time: one partition repeats, the other loses.
    at_time = reset.json("--to", "2023-11-14T22:28:20")
    assert [(row["to"], row["lost"], row["repeated"]) for row in at_time["partitions"]] == [
        (15, 5, 0),
        (15, 0, 5),
    ]

    back = reset.json("--to", "-3", "--partition", "1")
    assert [(row["partition"], row["to"], row["repeated"]) for row in back["partitions"]] == [
        (1, 17, 3)
    ]
    beyond = reset.json("--to", "+100", "--partition", "0")["partitions"][0]
    assert (beyond["to"], beyond["clamped"], beyond["lost"]) == (30, True, 20)
    future = reset.json("--to", "2999-01-01", "--partition", "0")["partitions"][0]
    assert (future["to"], future["clamped"]) == (30, True), "what comes until then is read"
    since_then = reset.json("--to", "-1m", "--partition", "0")["partitions"][0]
    assert (since_then["to"], since_then["clamped"]) == (30, False), "nothing is that young"

    assert reset.committed() == {0: 10, 1: 20}
    run = reset.run("--to", "-3", "--partition", "1", "--execute")
    assert run.returncode == 0, run.stderr
    assert reset.committed() == {0: 10, 1: 17}, "the other partition stays"
    assert all(len(line) <= 80 for line in run.stdout.splitlines()[1:])
    (line,) = [json.loads(line) for line in run.stderr.splitlines() if "offsets_reset" in line]
    assert line["event"] == "offsets_reset"
    assert {name: line[name] for name in ("user", "group", "topic", "partition")} == {
        "user": getpass.getuser(),
        "group": reset.group,
        "topic": reset.topic,
        "partition": 1,
    }
    assert (line["from_offset"], line["to_offset"]) == (20, 17)
    assert (line["lost"], line["repeated"]) == (0, 3)


def test_offsets_that_hold_no_message_are_not_counted_as_messages(
    kafka: KafkaBroker, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control records and aborted transactions have offsets, too."""
    monkeypatch.setattr(plan, "_EDGE_TIMEOUT_S", 30.0)
    reset = Reset(kafka, topic(1))
    for number in range(4):
        transaction = kafka.transaction(reset.topic, 5)
        transaction.abort() if number == 1 else transaction.commit()
    end = kafka.end_offsets(reset.topic)[0]
    assert end == 24, "four transactions of five messages, each with its control record"
    reset.commit({0: 0})
    document = reset.json("--to", "latest")
    assert (document["lost"], document["exact"]) == (15, True)

    spot = (reset.topic, 0)
    ranges = {spot: Range(0, end)}
    estimate = count_messages(kafka.client_config(), ranges, counted_offsets=10)[spot]
    assert (estimate.messages, estimate.exact) == (24, False), "too many to count: at most"
    counted = count_messages(kafka.client_config(), ranges)[spot]
    assert (estimate.first_ms, estimate.last_ms) == (counted.first_ms, counted.last_ms)
    assert count_messages(kafka.client_config(), {spot: Range(3, 3)})[spot] == MessageCount()


def test_what_can_not_be_read_is_an_upper_bound_and_never_nothing(
    kafka: KafkaBroker, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is gone, what a transaction holds back, and a topic that is not there."""
    monkeypatch.setattr(plan, "_COUNT_TIMEOUT_S", 30.0)
    name = topic(3)
    for index in range(2):
        kafka.produce(name, [b"x"] * 10, partition=index)
    kafka.delete_records(name, {0: 4})
    still_open = kafka.transaction(name, 5, partition=1)
    kafka.produce(name, [b"x"] * 10, partition=2)
    ranges = {(name, 0): Range(2, 10), (name, 1): Range(4, 15), (name, 2): Range(3, 8)}
    found = count_messages(kafka.client_config(), ranges)
    still_open.abort()
    assert {spot: (each.messages, each.exact) for spot, each in found.items()} == {
        (name, 0): (8, False),
        (name, 1): (11, False),
        (name, 2): (5, True),
    }

    # Its client would wait half a minute for it to appear.
    monkeypatch.setattr(plan, "_COUNT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(plan, "_EDGE_TIMEOUT_S", 0.5)
    absent = (f"{name}-not-there", 0)
    (found_nothing,) = count_messages(kafka.client_config(), {absent: Range(20, 100)}).values()
    assert (found_nothing.messages, found_nothing.exact) == (80, False)


def test_who_may_not_read_the_topic_is_reported_an_upper_bound(tmp_path: Path) -> None:
    try:
        broker = SecuredKafkaBroker(tmp_path)
    except MissingPart as error:
        require("Kafka", str(error))
    with closing(broker):
        broker.start()
        reset = Reset(broker, broker.create_topic("t", 2))
        for index in range(2):
            broker.produce("t", [b"x"] * 100, partition=index)
        reset.commit({0: 20, 1: 20})
        broker.grant("alice", "DESCRIBE", "topic", "t")
        broker.grant("alice", "DESCRIBE", "group", reset.group)
        reset.brokers = ("--bootstrap-servers", broker.sasl_servers)
        login = [f"--kafka-config={name}={value}" for name, value in broker.login("alice").items()]
        document = reset.json("--to", "latest", *login)
        assert (document["lost"], document["exact"]) == (160, False)
        run = reset.run("--to", "latest", *login)
        assert "at most 160 messages lost" in run.stdout
        assert "<=80" in run.stdout


def test_a_group_with_members_is_not_moved(kafka: KafkaBroker, topic: TopicFactory) -> None:
    for protocol in ("classic", "consumer"):
        reset = Reset(kafka, topic(1))
        kafka.produce(reset.topic, [b"x"] * 5)
        reset.commit({0: 3})
        with members(
            kafka, reset.group, reset.topic, client_id="the-member", group_protocol=protocol
        ):
            run = reset.run("--to", "earliest", "--execute")
            plan = reset.run("--to", "earliest")
        assert run.returncode == 75
        assert plan.returncode == 75, "a moving group's plan is stale at once"
        assert "has active members" in run.stderr
        assert "stop them first: the-member on 127.0.0.1" in run.stderr
        assert reset.committed() == {0: 3}


def test_a_member_that_joins_after_the_plan_keeps_its_offsets(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    """The check right before the move finds it, and so does the broker's own behind that."""
    reset = Reset(kafka, topic(1))
    kafka.produce(reset.topic, [b"x"] * 5)
    reset.commit({0: 3})
    target = Target(None, reset.group, reset.topic)
    with Groups(kafka.client_config()) as groups:
        moves = plan_reset(groups, target, EARLIEST, (), may_be_new=False)
        with members(kafka, reset.group, reset.topic):
            with pytest.raises(GroupIsActive, match=r"on 127\.0\.0\.1"):
                execute(groups, target, moves)
            with pytest.raises(GroupIsActive, match="Unknown member"):
                groups.commit(reset.group, {(reset.topic, 0): 0})
        assert reset.committed() == {0: 3}
        reset.commit({0: 4})
        with pytest.raises(GroupIsActive, match="is at 4, not at 3"):
            execute(groups, target, moves)
        assert reset.committed() == {0: 4}


def test_a_move_is_in_the_log_even_where_something_else_commits_right_behind_it(
    kafka: KafkaBroker, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = Reset(kafka, topic(1))
    kafka.produce(reset.topic, [b"x"] * 5)
    reset.commit({0: 3})
    move = Groups.commit

    def move_and_be_overtaken(groups: Groups, group: str, offsets: dict[Any, int]) -> None:
        move(groups, group, offsets)
        reset.commit({0: 4})

    monkeypatch.setattr(Groups, "commit", move_and_be_overtaken)
    monkeypatch.setattr("consumer_fleet.bootstrap.logging_setup.configure_logging", lambda *_: None)
    place = ("--group", reset.group, "--topic", reset.topic, "--to", "latest", "--execute")
    with capture_logs() as logs:
        run = CliRunner().invoke(main, ["offsets", "reset", *place, *reset.brokers])
    assert run.exit_code == 75
    assert "is at 4, not at 5: another client has committed since it was moved" in run.stderr
    (line,) = [line for line in logs if line["event"] == "offsets_reset"]
    assert (line["from_offset"], line["to_offset"], line["lost"]) == (3, 5, 2)


def test_what_is_missing_is_named_and_nothing_is_created(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    reset = Reset(kafka, topic(1))
    kafka.produce(reset.topic, [b"x"] * 5)

    def refusal(*arguments: str) -> str:
        run = run_command("offsets", "reset", *reset.brokers, *arguments, "--execute")
        assert run.returncode == 78
        assert "Traceback" not in run.stderr
        return run.stderr

    place = ("--group", reset.group, "--topic", reset.topic)
    assert f"group '{reset.group}' does not exist" in refusal(*place, "--to", "earliest")
    reset.commit({0: 3})
    absent = ("--group", reset.group, "--topic", f"{reset.topic}x")
    assert f"did you mean '{reset.topic}'" in refusal(*absent, "--to", "earliest")
    assert "no partition 7" in refusal(*place, "--to", "earliest", "--partition", "7")
    assert "'yesterday'" in refusal(*place, "--to", "yesterday")
    assert "no consumer is named" in refusal("--to", "latest")
    assert reset.committed() == {0: 3}


def test_a_group_of_sentrys_own_is_moved_only_by_name(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    reset = Reset(kafka, topic(1), group=f"snuba-{uuid.uuid4().hex[:8]}")
    kafka.produce(reset.topic, [b"x"] * 5)
    reset.commit({0: 3})
    refused = reset.run("--to", "latest", "--execute")
    assert refused.returncode == 2
    assert "--reserved-group" in refused.stderr
    assert reset.committed() == {0: 3}
    assert reset.run("--to", "latest").returncode == 0, "looking is free"
    assert reset.run("--to", "latest", "--execute", "--reserved-group").returncode == 0
    assert reset.committed() == {0: 5}


def test_a_consumer_that_never_ran_may_be_put_where_it_is_to_start(
    kafka: KafkaBroker, topic: TopicFactory
) -> None:
    reset = Reset(kafka, topic(2))
    kafka.produce(reset.topic, [b"x"] * 5, partition=0)
    own = ("--set", f"group={reset.group}", "--set", f"physical_topic={reset.topic}")
    run = run_command(
        *("offsets", "reset", "--consumer", "events", "--set", "topic=events", *own),
        *(*reset.brokers, "--to", "latest", "--execute", "--json"),
    )
    assert run.returncode == 0, run.stderr
    document = json.loads(run.stdout)
    assert [row["from"] for row in document["partitions"]] == [None, None]
    assert document["lost"] == 5
    assert reset.committed() == {0: 5, 1: 0}


def test_show_prints_the_position_of_the_group(
    kafka: KafkaBroker, topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command's second for the oldest messages is not what is tested.
    monkeypatch.setattr(sampler, "_OLDEST_TIMEOUT_S", 30.0)
    hour_s = 3600
    name = topic(3, {"retention.ms": 10 * hour_s * 1000})
    reset = Reset(kafka, name)
    stamp = int((time.time() - hour_s) * 1000)
    kafka.produce(name, [b"x"] * 8, partition=0, timestamp_ms=stamp)
    kafka.produce(name, [b"x"] * 4, partition=1, timestamp_ms=stamp)
    reset.commit({0: 2, 1: 4})
    kafka.delete_records(name, {0: 5})
    place = ("--group", reset.group, "--topic", name, *reset.brokers)
    run = call_command("offsets", "show", *place, "--json")
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout)["partitions"]
    keys = ("start", "committed", "end", "lag", "lost", "out_of_range")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        (5, 2, 8, 6, 3, True),
        (0, 4, 4, 0, 0, False),
        (0, None, 0, None, 0, False),
    ]
    assert rows[0]["time_to_loss_s"] == pytest.approx(9 * hour_s, abs=60)
    table = call_command("offsets", "show", *place).stdout.splitlines()
    assert table[0] == f"group {reset.group} (empty) on topic {name}"
    assert table[2].split()[:7] == ["0", "5", "2", "8", "6", "3", "1.0h"]
    assert table[2].split()[7] == "LOST"


def test_no_offset_is_cut_however_long_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    first = 10**15
    counted = MessageCount(4990, True, 0, 10**12)
    moves = [Move(0, Range(first, first + 5000), first + 10, first + 5000, count=counted)]
    print_table(reset_table(moves))
    assert capsys.readouterr().out.splitlines()[1].split() == [
        *("0", f"{first + 10}", f"{first + 5000}", "4,990", "0", "0"),
        *("01-01", "00:00:00", "to", "09-09", "01:46:40"),
    ]


def test_latest_of_an_empty_topic_moves_nothing(kafka: KafkaBroker, topic: TopicFactory) -> None:
    reset = Reset(kafka, topic(1))
    reset.commit({0: 0})
    with Groups(kafka.client_config()) as groups:
        target = Target(None, reset.group, reset.topic)
        (move,) = plan_reset(groups, target, LATEST, (), may_be_new=False)
    assert not move.moves
    assert "already there" in reset.run("--to", "latest").stdout
